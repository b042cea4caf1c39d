"""InfiniRetri as its authors describe it (Ye et al. 2025, arXiv 2502.12962): the reference.

Text is read window by window. In front of each window stand the sentences kept so far, behind it the
question. In the last layer, the attention that the question's own tokens pay to a token of the text,
summed over all heads, is summed again over the phrase around that token (a convolution with ones);
whole sentences that hold one of the best tokens are kept as text and carried to the next window.

The paper bounds neither what is kept nor the length of a sentence. Here both are bounded so that the
merged input never exceeds the window: of the sentences kept the best stay, and a sentence too long to
be carried is read in parts, to its end. Nothing lives longer than one call of `read`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval.infini_retri import ReadingSettings
from retrieval.lines import Findings, Line
from retrieval.packing import Candidate, pack


@dataclass(frozen=True, slots=True)
class PublishedSettings:
    """The paper's defaults; all but `kept`, which it leaves unbounded. Units are tokens."""

    window: int = 1024  # template + kept sentences + new sentences + question
    phrase: int = 15  # width of the convolution
    top_tokens: int = 300  # a sentence is kept for holding one of them
    kept: int = 512  # of one window, at most, for sentences from before

    def __post_init__(self) -> None:
        if not 0 < self.kept < self.window:
            raise ValueError(
                f"kept sentences {self.kept} must be above 0 and below the window {self.window}"
            )
        if self.phrase < 1 or self.phrase % 2 == 0:
            raise ValueError(f"phrase {self.phrase} must be odd, or it has no middle token")
        if self.top_tokens < 1:
            raise ValueError(f"top_tokens {self.top_tokens} must be above 0")


@dataclass(frozen=True, slots=True)
class _Part:
    """Consecutive tokens of one line; a line that can be carried whole is one part."""

    sentence: int
    ids: list[int]
    cost: int  # tokens of the whole line
    is_last: bool


class PublishedReader:
    """Reads lines by the last layer's attention, as the paper does. Holds no state between reads."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.prompter = Prompter(model)
        self._opening = self.prompter.context_ids([])
        self._asking = self.prompter.asking_ids()

    def read(self, text: Iterable[Line], question: str, settings: ReadingSettings) -> Findings:
        """Of what is kept, as the paper keeps it, the best under the evidence budget."""
        named: dict[int, Line] = {}

        def noting() -> Iterator[Line]:
            for line in text:
                named[line.sentence] = line
                yield line

        kept = self.keep(noting(), question, PublishedSettings())
        ranking = sorted(kept, key=lambda c: (-c.score, c.sentence))
        return Findings(pack(kept, settings.evidence), ranking, named)

    def keep(
        self,
        lines: Iterable[Line],
        question: str,
        settings: PublishedSettings,
        seen: Callable[[int], None] | None = None,
    ) -> list[Candidate]:
        """The sentences kept after the last window, in document order; `seen` hears lines read.

        A candidate's score is its best smoothed token score in the last window, its tokens are the
        whole line's. Together they have at most `settings.kept` tokens, unless a line is longer
        than can be carried: then the parts kept of it are within the bound and it counts in full.

        Raises:
            ValueError: the question leaves no room for text in a window.
        """
        asked = self.prompter.asked_ids(question)
        around = len(self._opening) + len(self._asking) + len(asked)
        room = settings.window - around - settings.kept
        if room < settings.window // 16:
            raise ValueError(
                f"the question has {len(asked)} tokens and leaves no room in a window of "
                f"{settings.window} with {settings.kept} for kept sentences; shorten it"
            )
        carried: list[tuple[_Part, float]] = []
        for fresh in _windows(self._parts(lines, min(room, settings.kept)), room):
            batch = [*(part for part, _ in carried), *fresh]
            scores = smoothed(self._attention(batch, asked), settings.phrase)
            counts = [len(part.ids) for part in batch]
            kept = kept_sentences(scores, counts, settings.top_tokens, settings.kept)
            carried = [(batch[found.sentence], found.score) for found in kept]
            if seen:
                seen(sum(part.is_last for part in fresh))
        return _whole_lines(carried)

    def _parts(self, lines: Iterable[Line], longest: int) -> Iterator[_Part]:
        for line in lines:
            ids = self.prompter.line_ids(line.text)
            for start in range(0, len(ids), longest):
                end = start + longest
                yield _Part(line.sentence, ids[start:end], len(ids), end >= len(ids))

    def _attention(self, parts: Sequence[_Part], asked: Sequence[int]) -> NDArray[np.float32]:
        """What the question's tokens pay each token of the parts, in order."""
        text = [token for part in parts for token in part.ids]
        last = self.model.geometry.layers - 1
        tap = self.model.tap([*self._opening, *text, *self._asking, *asked], (last,))
        paid = question_attention(tap.queries[last], tap.keys[last], len(asked))
        before = len(self._opening)
        found: NDArray[np.float32] = paid[before : before + len(text)].cpu().numpy()
        return found


def question_attention(queries: torch.Tensor, keys: torch.Tensor, asked: int) -> torch.Tensor:
    """Attention that a prompt's last `asked` tokens pay each of its tokens, summed over all heads and
    over those tokens.

    `queries` is [heads, tokens, dim], `keys` is [kv_heads, tokens, dim], both rotated; the mask is
    causal, as in the forward pass. Returns [tokens] in float32.
    """
    heads, tokens, dim = queries.shape
    rows = queries[:, tokens - asked :].float()
    spread = keys.float().repeat_interleave(heads // keys.shape[0], dim=0)
    scores = rows @ spread.transpose(1, 2) * dim**-0.5
    ahead = torch.ones(asked, tokens, dtype=torch.bool, device=rows.device)
    scores = scores.masked_fill(ahead.triu(tokens - asked + 1), float("-inf"))
    return torch.softmax(scores, dim=-1).sum(dim=(0, 1))


def smoothed(scores: NDArray[np.float32], phrase: int) -> NDArray[np.float32]:
    """Each token's score summed with its neighbours': a convolution with `phrase` ones (odd), centred
    on the token, with nothing beyond the ends. Shape [tokens] in and out.
    """
    if len(scores) == 0:
        return scores
    phrases = np.lib.stride_tricks.sliding_window_view(np.pad(scores, phrase // 2), phrase)
    summed: NDArray[np.float32] = phrases.sum(axis=-1)
    return summed


def kept_sentences(
    scores: NDArray[np.float32], counts: Sequence[int], top_tokens: int, budget: int
) -> list[Candidate]:
    """The sentences that hold one of the best `top_tokens` tokens, in order, numbered from 0.

    `scores` is [tokens], `counts` the tokens of each sentence in order. A sentence scores what its
    best token does. If they have more than `budget` tokens together, the best stay.
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    best: dict[int, float] = {}
    for token in np.argsort(-scores, kind="stable")[:top_tokens]:  # best first
        best.setdefault(int(owner[token]), float(scores[token]))
    return pack((Candidate(i, score, counts[i]) for i, score in best.items()), budget)


def _windows(parts: Iterable[_Part], most: int) -> Iterator[list[_Part]]:
    """Consecutive parts that have at most `most` tokens together; no part has more."""
    window: list[_Part] = []
    used = 0
    for part in parts:
        if window and used + len(part.ids) > most:
            yield window
            window, used = [], 0
        window.append(part)
        used += len(part.ids)
    if window:
        yield window


def _whole_lines(carried: Iterable[tuple[_Part, float]]) -> list[Candidate]:
    """Each line once, in the order given, scored by the best of its parts."""
    lines: dict[int, Candidate] = {}
    for part, score in carried:
        known = lines.get(part.sentence)
        if known is None or score > known.score:
            lines[part.sentence] = Candidate(part.sentence, score, part.cost)
    return list(lines.values())
