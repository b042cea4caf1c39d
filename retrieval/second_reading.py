"""The shortlist read together with the question behind it, and scored by the heads of that reading."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from engine.attention import head_weights
from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval.heads import RetrievalHeads
from retrieval.lines import Line
from retrieval.packing import Candidate


class SecondReading:
    """Reads lines in document order with the question behind them.

    `weight` is that of the first score, as a share of the best one, beside the second's.
    """

    def __init__(self, model: LanguageModel, heads: RetrievalHeads, weight: float = 1.0) -> None:
        self.model, self.heads, self.weight = model, heads, weight
        self.prompter = Prompter(model)
        self._opening = self.prompter.context_ids([])
        self._asking = self.prompter.asking_ids()

    def cost(self, line: Line) -> int:
        """Tokens of a line in a prompt."""
        return len(self.prompter.line_ids(line.text))

    def read(
        self, lines: Sequence[Line], scores: NDArray[np.float32], question: str, room: int
    ) -> list[Candidate]:
        """The lines that fit `room` tokens, best first, each with both readings' score."""
        costs = [self.cost(line) for line in lines]
        kept = _fitting(costs, room)
        if not kept:
            return []
        kept.sort(key=lambda i: lines[i].sentence)
        second = self.attention([lines[i] for i in kept], question)
        first = np.maximum(scores[kept], 0.0)
        both = _share_of_best(second) + self.weight * _share_of_best(first)
        return [
            Candidate(lines[i].sentence, float(score), costs[i])
            for i, score in zip(kept, both, strict=True)
        ]

    def attention(self, lines: Sequence[Line], question: str) -> NDArray[np.float32]:
        """Attention that the question's tokens pay each line, [len(lines)]: the largest weight among
        the line's tokens, summed over the question's tokens and the heads.
        """
        asked = self.prompter.asked_ids(question)
        parts = [self.prompter.line_ids(line.text) for line in lines]
        text = [token for part in parts for token in part]
        before = len(self._opening)
        ids = [*self._opening, *text, *self._asking, *asked]
        tap = self.model.tap(ids, sorted({head.layer for head in self.heads.reread}))
        first = len(ids) - len(asked)
        queries = {layer: rows[:, first:] for layer, rows in tap.queries.items()}
        # Keys of the question itself are left out; the opening's stay and take what nobody deserves.
        keys = {layer: rows[:, : before + len(text)] for layer, rows in tap.keys.items()}
        weights = head_weights(queries, keys, self.heads.reread)[:, :, before:]
        best = largest_in_each(weights, [len(part) for part in parts])
        summed: NDArray[np.float32] = best.sum(axis=(0, 1))
        return summed


def largest_in_each(weights: torch.Tensor, counts: Sequence[int]) -> NDArray[np.float32]:
    """The largest of each run of `counts` tokens: [heads, rows, tokens] to [heads, rows, runs]."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    found: NDArray[np.float32] = np.maximum.reduceat(weights.float().cpu().numpy(), starts, axis=2)
    return found


def _fitting(costs: Sequence[int], room: int) -> list[int]:
    """The first places that fit; what fits nowhere must not hide those behind it."""
    kept = []
    for place, cost in enumerate(costs):
        if cost > room:
            continue
        kept.append(place)
        room -= cost
    return kept


def _share_of_best(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    best = float(scores.max())
    return scores / best if best > 0.0 else np.zeros_like(scores)
