"""Attention of a batch to prefixes that its rows share.

A prefix is stored once, however many requests continue it, and its keys are read once for all of their
queries (Juravsky et al. 2024, Hydragen, arXiv 2402.05099): attention to the prefix and to a row's own
tokens are computed apart and joined by their log-sum-exps, which is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.prefix import KVPrefix

_LOGITS = 1 << 21  # logits held at once: more of them leave the cache and take longer


@dataclass(frozen=True, slots=True, eq=False)
class PrefixGroup:
    """A prefix and the numbers of the batch's rows that continue it."""

    prefix: KVPrefix
    rows: torch.Tensor


def group_by_prefix(
    prefixes: Sequence[KVPrefix | None], device: torch.device
) -> tuple[PrefixGroup, ...]:
    """One group for each prefix; rows without one are in none."""
    rows: dict[int, list[int]] = {}
    for row, prefix in enumerate(prefixes):
        if prefix is not None and prefix.length:
            rows.setdefault(id(prefix), []).append(row)
    return tuple(
        PrefixGroup(prefix, torch.tensor(rows[id(prefix)], device=device))
        for prefix in {id(one): one for one in prefixes if one is not None}.values()
        if id(prefix) in rows
    )


def attend_with_prefixes(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    groups: Sequence[PrefixGroup],
    layer: int,
    scale: float,
) -> torch.Tensor:
    """The output [batch, T, heads, dim] of queries [batch, heads, T, dim] that see their group's prefix
    and their own keys and values [batch, kv_heads, N, dim], of which the last T are at their places.

    `mask` is boolean [batch, 1, T, N]; without it every query sees the own keys up to its place.
    """
    batch, heads, tokens, dim = query.shape
    kv_heads = key.shape[1]
    queries = query.float().reshape(batch, kv_heads, -1, tokens, dim)
    own, mass = _own(queries, key.float(), value.float(), mask, scale)
    for group in groups:
        found, weight = _shared(queries[group.rows], group.prefix, layer, scale)
        before = mass[group.rows]
        total = torch.logaddexp(before, weight)
        own[group.rows] = (
            own[group.rows] * (before - total).exp()[..., None]
            + found * (weight - total).exp()[..., None]
        )
    return own.reshape(batch, heads, tokens, dim).transpose(1, 2).to(query.dtype).contiguous()


def _own(
    queries: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and log-sum-exp of attention to a row's own tokens; 0 and -inf where it sees none."""
    tokens, length = queries.shape[3], key.shape[2]
    logits = queries @ key[:, :, None].transpose(-1, -2) * scale
    if mask is None:
        seen = torch.ones(tokens, length, dtype=torch.bool, device=key.device)
        seen = seen.tril(length - tokens)
    else:
        seen = mask[:, :, None]
    logits = logits.masked_fill(~seen, -torch.inf)
    mass = torch.logsumexp(logits, dim=-1)
    shares = (logits - mass[..., None]).exp().nan_to_num(0.0)  # padding sees nothing
    return shares @ value[:, :, None], mass


def _shared(
    queries: torch.Tensor, prefix: KVPrefix, layer: int, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of attention to a prefix, all rows' queries at once."""
    rows, kv_heads, group, tokens, dim = queries.shape
    keys, values = prefix.keys[layer].float(), prefix.values[layer].float()
    outputs, masses = [], []
    flat = queries.transpose(0, 1).reshape(kv_heads, -1, dim)
    for block in flat.split(max(1, _LOGITS // (kv_heads * prefix.length)), dim=1):
        logits = block @ keys.transpose(-1, -2) * scale
        masses.append(torch.logsumexp(logits, dim=-1))
        outputs.append((logits - masses[-1][..., None]).exp() @ values)
    found, mass = torch.cat(outputs, dim=1), torch.cat(masses, dim=1)

    def unfold(part: torch.Tensor) -> torch.Tensor:
        shape = (kv_heads, rows, group, tokens, *part.shape[2:])
        return part.reshape(shape).transpose(0, 1)

    return unfold(found), unfold(mass)
