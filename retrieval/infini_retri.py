"""InfiniRetri (Ye et al. 2025, arXiv 2502.12962): the model's own attention picks the sentences.

Text of any length is read window by window. In front of each window stand the sentences kept so far,
behind it the question; the attention of the question's tokens scores all of them in one softmax, and
the best under a token budget are carried on. Memory is one window, however long the text.

Beyond the paper: calibrated middle heads in place of the last layer, so that the pass ends early; a
budget in tokens in place of "sentences that hold a top-k token"; and, where a corpus has stored keys,
a first pass over those that leaves one window's worth to be read.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.attention import head_weights
from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval.attention_index import AttentionScorer, rank, sentence_scores
from retrieval.corpus_index import CorpusIndex
from retrieval.heads import RetrievalHeads
from retrieval.packing import Candidate, pack


@dataclass(frozen=True, slots=True)
class ReadingSettings:
    """Budgets in tokens. `window` bounds kept sentences + new sentences + question together."""

    window: int = 1024
    evidence: int = 256
    share: float = 0.35  # of the best score; what lies below is noise to a small model

    def __post_init__(self) -> None:
        if not 0 < self.evidence < self.window:
            raise ValueError(
                f"evidence budget {self.evidence} must be above 0 and below the window {self.window}"
            )


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence as it is read: its number in the corpus and its text."""

    sentence: int
    text: str


class AttentionReader:
    """Reads lines with a question behind them and says which ones the question attends to."""

    def __init__(self, model: LanguageModel, heads: RetrievalHeads) -> None:
        self.model, self.heads = model, heads
        self.prompter = Prompter(model)
        self._opening = self.prompter.context_ids([])
        self._asking = self.prompter.asking_ids()

    def read(
        self,
        lines: Iterable[Line],
        question: str,
        settings: ReadingSettings,
        seen: Callable[[int], None] | None = None,
    ) -> list[Candidate]:
        """The sentences kept after the last window, in document order; `seen` hears lines read.

        Raises:
            ValueError: the question leaves no room for text in a window.
        """
        asked = self.prompter.asked_ids(question)
        around = len(self._opening) + len(self._asking) + len(asked)
        room = settings.window - around - settings.evidence
        if room < settings.window // 16:
            raise ValueError(
                f"the question has {len(asked)} tokens and leaves no room in a window of "
                f"{settings.window} with {settings.evidence} for evidence; shorten it"
            )
        carried: list[tuple[Candidate, Line]] = []
        for window in self._windows(lines, room):
            known = {line.sentence: line for _, line in carried} | {
                line.sentence: line for line, _ in window
            }
            batch = [(line, kept.tokens) for kept, line in carried] + window
            scored = self._score([line for line, _ in batch], asked, room)
            candidates = [
                Candidate(line.sentence, float(score), tokens)
                for (line, tokens), score in zip(batch, scored, strict=True)
            ]
            kept = pack(candidates, settings.evidence, settings.share)
            carried = [(candidate, known[candidate.sentence]) for candidate in kept]
            if seen:
                seen(len(window))
        return [candidate for candidate, _ in carried]

    def _windows(self, lines: Iterable[Line], most: int) -> Iterator[list[tuple[Line, int]]]:
        window: list[tuple[Line, int]] = []
        used = 0
        for line in lines:
            tokens = len(self.prompter.line_ids(line.text))
            if window and used + tokens > most:
                yield window
                window, used = [], 0
            window.append((line, tokens))
            used += tokens
        if window:
            yield window

    def _score(self, lines: Sequence[Line], asked: list[int], longest: int) -> NDArray[np.float32]:
        """Attention that the question's tokens pay each line, [len(lines)]; of a line longer than a
        window its beginning is read.
        """
        parts = [self.prompter.line_ids(line.text)[:longest] for line in lines]
        text = [token for part in parts for token in part]
        before = len(self._opening)
        ids = [*self._opening, *text, *self._asking, *asked]
        tap = self.model.tap(ids, self.heads.layers)
        first = len(ids) - len(asked)
        queries = {layer: rows[:, first:] for layer, rows in tap.queries.items()}
        # Keys of the question itself are left out; the opening's stay and take what nobody deserves.
        keys = {layer: rows[:, : before + len(text)] for layer, rows in tap.keys.items()}
        weights = head_weights(queries, keys, self.heads.heads)[:, :, before:]
        counts = np.array([len(part) for part in parts], dtype=np.int32)
        return sentence_scores(weights, counts)


def retrieve(
    reader: AttentionReader,
    scorer: AttentionScorer,
    index: CorpusIndex,
    question: str,
    settings: ReadingSettings,
) -> list[Candidate]:
    """Evidence from an indexed corpus: stored keys leave one window's worth, which is then read."""
    lines: list[Line] = []
    used = 0
    room = settings.window - settings.evidence - len(reader.prompter.asked_ids(question)) - 64
    for sentence in rank(scorer.score(index, question), 4 * settings.window // 8):
        tokens = int(index.token_counts[sentence]) + 3
        if tokens > room:
            continue  # it fits nowhere, and must not hide those behind it
        if used + tokens > room:
            break
        lines.append(Line(sentence, index.text(sentence)))
        used += tokens
    return reader.read(sorted(lines, key=lambda line: line.sentence), question, settings)


def corpus_lines(index: CorpusIndex) -> Iterator[Line]:
    """Every sentence of a corpus in order."""
    for sentence in range(len(index)):
        yield Line(sentence, index.text(sentence))
