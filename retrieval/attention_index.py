"""A question read once, scored against every window's stored keys.

The question stands behind the prompt's opening and a window's length of nothing; it sees only the
opening and itself, so one short pass serves all windows. Each of its tokens asks the stored keys at
the calibrated heads; a sentence answers with its best key (late interaction, as in ColBERT), or with
the attention of all its keys where that was calibrated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from engine.attention import Head
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from retrieval.contrast import Contrast, contrast
from retrieval.corpus_index import CorpusIndex
from retrieval.heads import RetrievalHeads
from retrieval.pooling import Pooling, pool
from retrieval.quantised_keys import QuantisedKeys

_BLOCK = 8192  # tokens whose keys are restored at once
_ROWS = 64  # rows of a KV head that ask at once: a long question must not cost much memory
_NOTHING = -30.0  # the logit of a sentence that no token belongs to


@dataclass(frozen=True, slots=True, eq=False)
class AskedHeads:
    """A question as it asks one stored KV head: the rows of all query heads that share it.

    `rows` [R, D] are scaled by 1 / sqrt(D); `opening` [R, 1] is the log-sum-exp of the opening's logits.
    """

    rows: torch.Tensor
    opening: torch.Tensor

    def part(self, start: int, stop: int) -> "AskedHeads":
        return AskedHeads(self.rows[start:stop], self.opening[start:stop])


class AttentionScorer:
    """Scores the sentences of an index by the attention that a question pays them."""

    def __init__(self, model: LanguageModel, heads: RetrievalHeads, window: int) -> None:
        self.model, self.heads, self.window = model, heads, window
        self._group = model.geometry.heads // model.geometry.kv_heads
        self._prompter = Prompter(model)

    def score(self, index: CorpusIndex, asked: Sequence[AskedHeads]) -> Contrast:
        """One score a sentence for what `ask` made of a question; larger is more relevant."""
        found = Contrast(np.zeros(len(index), dtype=np.float32), 0.0)
        for start in range(0, max(len(one.rows) for one in asked), _ROWS):
            part = [one.part(start, start + _ROWS) for one in asked]
            pooled = self.pooled_logits(part, index.keys, index.token_counts)
            found += contrast(pooled, index.document_of)
        return found

    def ask(self, question: str) -> list[AskedHeads]:
        """The question's queries, one entry a stored KV head in their order."""
        before = self._asking
        asked = self._prompter.asked_ids(question)
        tap = self.model.tap(asked, self.heads.layers, before.query_offset, before)
        scale = self.model.geometry.head_dim**-0.5
        result = []
        for (layer, kv_head), sharing in self.sharing.items():
            own = [one.head for one in sharing]
            rows = tap.queries[layer][own].float().flatten(0, 1) * scale
            logits = rows @ self._opening.keys[layer, kv_head].float().T
            opening = torch.logsumexp(logits, dim=-1, keepdim=True)
            result.append(AskedHeads(rows.cpu(), opening.cpu()))
        return result

    @property
    def sharing(self) -> dict[tuple[int, int], list[Head]]:
        """The heads that ask each stored (layer, KV head), both in the order of the rows of `ask`."""
        return {
            (layer, kv_head): [
                one
                for one in self.heads.search
                if one.layer == layer and one.head // self._group == kv_head
            ]
            for layer, kv_head in self.heads.kv_heads(self._group)
        }

    def pooled_logits(
        self,
        asked: Sequence[AskedHeads],
        windows: Sequence[QuantisedKeys],
        counts: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """The pooled logit of each sentence over the opening's, [R, S]: R rows of all heads.

        `counts` [S] are tokens a sentence; together they are the windows' tokens, in order. Keys lie
        on the host, mapped from their files, so this runs on the CPU.
        """
        rows = sum(len(one.rows) for one in asked)
        pooled = np.full((rows, len(counts)), _NOTHING, dtype=np.float32)
        edges = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        start = 0
        for block in _blocks(windows):
            stop = start + sum(window.num_tokens for window in block)
            first, last = np.searchsorted(edges, [start, stop], side="left")
            inside = edges[first:last] - start
            filled = np.flatnonzero(counts[first:last])  # a sentence may share its only token
            if len(filled):
                starts = inside[filled]
                pooled[:, first + filled] = _pooled(asked, block, starts, self.heads.pooling)
            start = stop
        return pooled

    @cached_property
    def _opening(self) -> KVPrefix:
        """The prompt's opening, with the question's place behind a full window."""
        read = self.model.prefill(self._prompter.opening_ids())
        return KVPrefix(read.keys, read.values, read.length + self.window)

    @cached_property
    def _asking(self) -> KVPrefix:
        """The opening and, behind the window, the words that announce a question."""
        return self.model.prefill(self._prompter.asking_ids(), self._opening)


def _blocks(windows: Sequence[QuantisedKeys]) -> Iterator[list[QuantisedKeys]]:
    """Whole windows, some `_BLOCK` tokens together."""
    block: list[QuantisedKeys] = []
    tokens = 0
    for window in windows:
        block.append(window)
        tokens += window.num_tokens
        if tokens >= _BLOCK:
            yield block
            block, tokens = [], 0
    if block:
        yield block


def _pooled(
    asked: Sequence[AskedHeads],
    block: Sequence[QuantisedKeys],
    starts: NDArray[np.int64],
    pooling: Pooling,
) -> NDArray[np.float32]:
    """One logit of those between each start and the next, [R, len(starts)]."""
    values = torch.cat([window.values for window in block], dim=1)
    scales = torch.cat([window.scales for window in block], dim=1)
    found = []
    for head, one in enumerate(asked):
        logits = one.rows @ values[head].float().T
        logits.mul_(scales[head]).sub_(one.opening)
        found.append(pool(pooling, logits.numpy(), starts))
    return np.concatenate(found)
