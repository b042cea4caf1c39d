"""Keys and values of a batch's rows in one cache, and which of its columns are each row's own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache

from engine.prefix import cache_tensors, growing_cache

_IDLE = 64  # columns that no row needs, beside a quarter of those needed, before rows are packed


@dataclass(slots=True, eq=False)
class RowCache:
    """Rows of different lengths that grow together.

    `mask` is [rows, columns]: a row's own columns stand in the order of its tokens; the others are
    padding on the left, or were read for a guess that proved wrong.
    """

    cache: Cache
    mask: torch.Tensor

    def widen(self, counts: Sequence[int], width: int) -> None:
        """Makes `width` more columns known before they are read; each row owns its first so many."""
        self.mask = torch.cat([self.mask, self._owned(counts, width)], dim=1)

    def settle(self, counts: Sequence[int], width: int) -> None:
        """Of the last `width` columns read, each row keeps its first so many; what no row keeps goes."""
        if width == 1:
            return  # nothing was guessed
        kept = max(counts)
        self.cache.crop(kept - width)
        self.mask = self.mask[:, :-width]
        self.widen(counts, kept)

    def pack(self, longest: int) -> None:
        """Drops idle columns once there are many, given the number of tokens of the longest row."""
        if self.mask.shape[1] > longest * 5 // 4 + _IDLE:
            self.keep(range(len(self.mask)))

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with some of the rows, aligned at their last token, without idle columns."""
        chosen = list(rows)
        mask = self.mask[chosen]
        width = int(mask.sum(dim=1).max())
        # A row's own columns come last.
        order = mask.argsort(dim=1, stable=True)[:, mask.shape[1] - width :]
        keys, values = cache_tensors(self.cache)
        at = order[None, :, None, :, None].expand(len(keys), -1, keys.shape[2], -1, keys.shape[4])
        self.mask = mask.gather(1, order)
        self.cache = growing_cache(keys[:, chosen].gather(3, at), values[:, chosen].gather(3, at))

    def join(self, other: "RowCache") -> None:
        """Takes the rows of another in; the shorter ones are padded on the left."""
        most = max(self.mask.shape[1], other.mask.shape[1])
        keys, values, self.mask = (
            torch.cat(pair, dim=dim)
            for pair, dim in zip(
                zip(self._padded(most), other._padded(most), strict=True), (1, 1, 0), strict=True
            )
        )
        self.cache = growing_cache(keys, values)

    def _owned(self, counts: Sequence[int], width: int) -> torch.Tensor:
        device = self.mask.device
        owned = torch.arange(width, device=device) < torch.tensor(counts, device=device)[:, None]
        return owned.to(self.mask.dtype)

    def _padded(self, most: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        keys, values = cache_tensors(self.cache)
        pad = most - self.mask.shape[1]
        return (
            torch.nn.functional.pad(keys, (0, 0, pad, 0)),
            torch.nn.functional.pad(values, (0, 0, pad, 0)),
            torch.nn.functional.pad(self.mask, (pad, 0)),
        )
