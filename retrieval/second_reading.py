"""The best passages read again, each with the question behind it: the likelier the question, the better.

A passage that answers a question makes the question itself likely (query likelihood, Ponte & Croft 1998;
by a language model without any training, Sachan et al. 2022, UPR). It is the model's own judgement, in
context, and needs no labels and no head.
"""

from collections.abc import Generator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.heap import give_back
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from engine.scoring import Turn, answer_nll, pack_by_tokens
from retrieval.contrast import REACH
from retrieval.lines import Line

LONGEST = 128  # tokens of a passage, unless one line has more
_TOGETHER = 512  # tokens that one pass has


class SecondReading:
    """Reads passages of one model. `weight` is what a nat of the question's likelihood counts."""

    def __init__(self, model: LanguageModel, weight: float = 0.5) -> None:
        self.model, self.weight = model, weight
        self.prompter = Prompter(model)

    def cost(self, line: Line) -> int:
        """Tokens of a line in a prompt."""
        return len(self.prompter.line_ids(line.text))

    def begin(self, question: str) -> "Rereading":
        return Rereading(self, question)

    @cached_property
    def opening(self) -> KVPrefix:
        """What stands in front of every passage."""
        return self.model.prefill(self.prompter.context_ids([]))


class Rereading:
    """One question's second reading. A passage is read once, however often it is asked about."""

    def __init__(self, reader: SecondReading, question: str) -> None:
        self._reader = reader
        self._asking = tuple(reader.prompter.asking_ids())
        self._asked = tuple(reader.prompter.asked_ids(question))
        self._nats: dict[tuple[int, ...], float] = {}  # by the sentences of a passage

    def steps(
        self, lines: Sequence[Line], scores: NDArray[np.float32], room: int
    ) -> Generator[None, None, NDArray[np.float32]]:
        """Scores of ranked lines (best first, with their first scores) by both readings; a pause after
        each pass. Passages of `room` tokens are read, the question behind each counted in; the rest
        counts as the worst of them does.
        """
        costs = [self._reader.cost(line) for line in lines]
        behind = len(self._asking) + len(self._asked)
        passages = passages_of(lines, costs, behind, room)
        yield from self._read([[lines[i] for i in passage] for passage in passages])
        nats = np.zeros(len(lines), np.float32)
        if passages:
            read = [self._nats[_key([lines[i] for i in passage])] for passage in passages]
            nats[:] = min(read) - max(read)
            for passage, own in zip(passages, read, strict=True):
                nats[list(passage)] = own - max(read)
        return scores + self._reader.weight * nats

    def _read(self, passages: Sequence[Sequence[Line]]) -> Generator[None, None, None]:
        new = [passage for passage in passages if _key(passage) not in self._nats]
        packs = pack_by_tokens([self._turn(passage) for passage in new], _TOGETHER)
        rest = iter(new)
        for pack in packs:
            means = answer_nll(self._reader.model, pack, self._reader.opening)
            for mean in means:
                self._nats[_key(next(rest))] = -mean * len(self._asked)
            give_back()  # else a streamed text's reader grows by its last step
            yield

    def _turn(self, passage: Sequence[Line]) -> Turn:
        ids = [token for line in passage for token in self._reader.prompter.line_ids(line.text)]
        return Turn((*ids, *self._asking), self._asked)


def passages_of(
    lines: Sequence[Line], costs: Sequence[int], behind: int, room: int, longest: int = LONGEST
) -> list[tuple[int, ...]]:
    """Places of ranked lines that are read together, best passage first, each in document order.

    A passage is a line and up to `REACH` ranked ones to either side without a gap, of `longest` tokens
    together; all passages, with `behind` tokens behind each, have at most `room`. What does not fit
    hides nothing behind it.
    """
    place_of = {line.sentence: place for place, line in enumerate(lines)}
    taken: set[int] = set()
    passages: list[tuple[int, ...]] = []

    def free(sentence: int, document: int) -> int | None:
        place = place_of.get(sentence)
        inside = place is not None and place not in taken and lines[place].document == document
        return place if inside else None

    for place, line in enumerate(lines):
        left = room - behind
        if place in taken or costs[place] > left:
            continue
        run, used = [place], costs[place]
        taken.add(place)
        most = min(max(longest, used), left)
        for direction in (1, -1):
            for step in range(1, REACH + 1):
                next_to = free(line.sentence + direction * step, line.document)
                if next_to is None or used + costs[next_to] > most:
                    break
                used += costs[next_to]
                taken.add(next_to)
                run.append(next_to)
        room = left - used
        passages.append(tuple(sorted(run, key=lambda i: lines[i].sentence)))
    return passages


def _key(passage: Sequence[Line]) -> tuple[int, ...]:
    return tuple(line.sentence for line in passage)
