"""The attention function of every loaded model: SDPA, with a tap for queries, keys and values, and with
prefixes that the rows of a batch share.

A `Tap` or the groups are handed down through the model's keyword arguments, so that nothing global
changes and nothing has to be undone. At the deepest layer asked for, a tap ends the pass: neither that
layer's attention nor anything above it is computed, and the vocabulary projection never is.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from engine.shared_prefix import PrefixGroup, attend_with_prefixes

IMPLEMENTATION = "longmemory_sdpa"


class Enough(Exception):
    """Raised inside a forward pass when the last tapped layer has been seen."""


@dataclass(slots=True)
class Tap:
    """Collects rotated queries and keys and the values of chosen layers during one forward pass: of the
    one row of a batch, or with `batched` of all rows, with the batch in front of the shapes below.
    """

    layers: frozenset[int]
    batched: bool = False
    queries: dict[int, torch.Tensor] = field(default_factory=dict)  # [heads, tokens, dim]
    keys: dict[int, torch.Tensor] = field(default_factory=dict)  # [kv_heads, past + tokens, dim]
    values: dict[int, torch.Tensor] = field(default_factory=dict)  # as the keys

    def see(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        if layer in self.layers:
            own = slice(None) if self.batched else 0
            self.queries[layer], self.keys[layer] = query[own], key[own]
            self.values[layer] = value[own]
        if layer >= max(self.layers):
            raise Enough


def register() -> None:
    """Makes `IMPLEMENTATION` known to transformers; calling it again changes nothing."""
    AttentionInterface.register(IMPLEMENTATION, _attend)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    tap: Tap | None = None,
    groups: tuple[PrefixGroup, ...] = (),
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    if tap is not None:
        tap.see(layer, query, key, value)
    if groups:
        scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
        return attend_with_prefixes(query, key, value, attention_mask, groups, layer, scale), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


@dataclass(frozen=True, slots=True, order=True)
class Head:
    """One query head, counted from 0."""

    layer: int
    head: int
