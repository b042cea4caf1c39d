"""A question read once, scored against every window's stored keys.

For each retrieval head: softmax over one window's keys (with the prompt's opening, whose first token
takes the attention that nothing in the window deserves), the largest weight among a sentence's tokens,
summed over the question's tokens. What a question that asks nothing would score is taken off
(null-question calibration, Chen et al. 2410.02642).
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from retrieval.corpus_index import CorpusIndex
from retrieval.heads import RetrievalHeads

NULL_QUESTION = "N/A"


class AttentionScorer:
    """Scores the sentences of an index by the attention that a question pays them."""

    def __init__(self, model: LanguageModel, heads: RetrievalHeads, window: int) -> None:
        self.model, self.heads, self.window = model, heads, window
        self._group = model.geometry.heads // model.geometry.kv_heads
        self._places = {place: i for i, place in enumerate(heads.kv_heads(self._group))}

    def score(self, index: CorpusIndex, question: str) -> NDArray[np.float32]:
        """One score a sentence, [len(index)]; larger is more relevant."""
        scores = self._raw(index, self._queries(question))
        return scores - self._raw(index, self._null_queries)

    def _raw(self, index: CorpusIndex, queries: torch.Tensor) -> NDArray[np.float32]:
        scores = np.zeros(len(index), dtype=np.float32)
        for keys, sentences in zip(index.keys, index.sentences_of_windows, strict=True):
            counts = index.token_counts[sentences.start : sentences.stop]
            scores[sentences.start : sentences.stop] = self._score_window(queries, keys, counts)
        return scores

    @cached_property
    def _opening(self) -> KVPrefix:
        """The prompt's opening, with the question's place behind a full window."""
        read = self.model.prefill(Prompter(self.model).opening_ids())
        return KVPrefix(read.keys, read.values, read.length + self.window)

    @cached_property
    def _opening_keys(self) -> torch.Tensor:
        """[G, opening tokens, dim]"""
        return torch.stack(
            [self._opening.keys[layer, head] for layer, head in self._places]
        ).float()

    @cached_property
    def _null_queries(self) -> torch.Tensor:
        return self._queries(NULL_QUESTION)

    def _queries(self, question: str) -> torch.Tensor:
        """Scaled queries of the question's tokens at each head: [heads, tokens, dim]."""
        ids = Prompter(self.model).asked_ids(question)
        tap = self.model.tap(ids, self.heads.layers, self._opening.query_offset, self._opening)
        rows = [tap.queries[place.layer][place.head] for place in self.heads.heads]
        scale: float = self.model.geometry.head_dim**-0.5
        return torch.stack(rows).float() * scale

    def _score_window(
        self, queries: torch.Tensor, keys: NDArray[np.float16], counts: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        stored = torch.from_numpy(keys).to(self.model.device).float()
        chosen = [
            self._places[place.layer, place.head // self._group] for place in self.heads.heads
        ]
        inside = queries @ stored[chosen].transpose(1, 2)  # [heads, question, T]
        outside = queries @ self._opening_keys[chosen].transpose(1, 2)
        total = torch.logsumexp(torch.cat([outside, inside], dim=-1), dim=-1, keepdim=True)
        return sentence_scores((inside - total).exp(), counts)


def sentence_scores(weights: torch.Tensor, counts: NDArray[np.int32]) -> NDArray[np.float32]:
    """Attention [heads, question, tokens] to one score a sentence: the largest weight among its
    tokens, summed over heads and the question's tokens. `counts` are tokens a sentence, in order.
    """
    lengths = torch.from_numpy(counts.astype(np.int64)).to(weights.device)
    owner = torch.repeat_interleave(torch.arange(len(counts), device=weights.device), lengths)
    best = weights.new_zeros(*weights.shape[:2], len(counts))
    best.scatter_reduce_(2, owner.expand(*weights.shape), weights, "amax", include_self=True)
    summed: NDArray[np.float32] = best.sum(dim=(0, 1)).cpu().numpy()
    return summed


def rank(scores: NDArray[np.float32], most: int) -> Sequence[int]:
    """Numbers of the best `most` sentences, best first; equal scores keep document order."""
    return [int(i) for i in np.argsort(-scores, kind="stable")[:most]]
