"""Prompts on their way into a batch, read a bounded piece at a time: a long one stalls nobody."""

from collections.abc import Sequence

import torch
from transformers.cache_utils import Cache

from engine.model import LanguageModel
from engine.prefix import KVPrefix, cache_tensors, growing_cache
from engine.shared_prefix import group_by_prefix

PIECE, UNWATCHED = 256, 1024
"""Tokens read at once, of all prompts together: while answers are under way, and while none is. Over
8,000 tokens on a CPU, pieces of 256 take some 14% longer than one pass and pieces of 1,024 some 4%.
"""


class PromptReading:
    """Several prompts read as rows that are aligned at their last token; shorter ones are padded."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        prefixes: Sequence[KVPrefix | None],
    ) -> None:
        most = max(len(prompt) for prompt in prompts)
        ids = torch.zeros(len(prompts), most, dtype=torch.long)
        positions, mask = torch.zeros_like(ids), torch.zeros_like(ids)
        for i, (prompt, prefix) in enumerate(zip(prompts, prefixes, strict=True)):
            start = prefix.query_offset if prefix else 0
            ids[i, most - len(prompt) :] = torch.tensor(prompt)
            positions[i, most - len(prompt) :] = torch.arange(start, start + len(prompt))
            mask[i, most - len(prompt) :] = 1
        empty = model.empty_kv().expand(model.geometry.layers, len(prompts), -1, -1, -1)
        self.model, self.cache = model, growing_cache(empty, empty)
        self._ids, self._positions = ids.to(model.device), positions.to(model.device)
        self._mask, self._prefixes = mask.to(model.device), list(prefixes)
        self._read = 0
        self.logits = torch.empty(
            0
        )  # [prompts, vocabulary] behind the last tokens, once all is read

    def __len__(self) -> int:
        return len(self._prefixes)

    @property
    def mask(self) -> torch.Tensor:
        """Which tokens of what was read are a prompt's own and no padding."""
        return self._mask[:, : self._read]

    @property
    def is_done(self) -> bool:
        return self._read == self._ids.shape[1]

    def read_piece(self, most: int) -> None:
        """Reads on by so many tokens of all prompts together."""
        start = self._read
        self._read = min(self._ids.shape[1], start + max(1, most // len(self)))
        piece = slice(start, self._read)
        ids, positions = self._ids[:, piece], self._positions[:, piece]
        logits = forward(self.model, ids, positions, self.cache, self.mask, self._prefixes)
        self.logits = logits[:, -1]

    def keep(self, rows: list[int]) -> None:
        """Goes on with some of the prompts alone."""
        keys, values = cache_tensors(self.cache)
        self.cache = growing_cache(keys[:, rows], values[:, rows])
        self._ids, self._positions = self._ids[rows], self._positions[rows]
        self._mask, self._prefixes = self._mask[rows], [self._prefixes[row] for row in rows]


def forward(
    model: LanguageModel,
    ids: torch.Tensor,
    positions: torch.Tensor,
    cache: Cache,
    mask: torch.Tensor,
    prefixes: Sequence[KVPrefix | None],
    last: int = 1,
) -> torch.Tensor:
    """Logits [rows, last, vocabulary] behind the last of tokens [rows, T] that continue a cache and each
    row's prefix.
    """
    output = model.network(
        input_ids=ids,
        position_ids=positions,
        past_key_values=cache,
        attention_mask=None if bool(mask.all()) else mask,
        use_cache=True,
        logits_to_keep=last,
        groups=group_by_prefix(prefixes, model.device),
    )
    logits: torch.Tensor = output.logits
    return logits
