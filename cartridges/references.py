"""What a prefix is asked: the queries of conversations read behind the full context, layer by layer.

A query shares its attention between the prefix and its own conversation. So each comes with what it
finds there, and a prefix is judged by the output that both give together.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from cartridges.lessons import PACK_TOKENS
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.scoring import Turn, block_mask, pack_by_tokens, tap_turns


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """Queries of one layer, R to a KV head; those of all query heads that share it stand together.

    `queries` are [kv_heads, R, dim]; `mass` [kv_heads, R] is the log-sum-exp of their logits on their
    own conversation, `found` [kv_heads, R, dim] the output of attention to that alone.
    """

    queries: torch.Tensor
    mass: torch.Tensor
    found: torch.Tensor

    def head(self, number: int) -> "References":
        """Those of one KV head, [1, R, ...]."""
        own = slice(number, number + 1)
        return References(self.queries[own], self.mass[own], self.found[own])

    def take(self, rows: torch.Tensor | slice) -> "References":
        return References(self.queries[:, rows], self.mass[:, rows], self.found[:, rows])

    def shares(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention to a prefix's keys [kv_heads, p, dim], [kv_heads, R, p], and what is left for the
        query's own conversation, [kv_heads, R, 1]: together they are 1.
        """
        logits = self.queries @ keys.transpose(-1, -2) * keys.shape[-1] ** -0.5
        total = torch.logaddexp(torch.logsumexp(logits, dim=-1), self.mass)[..., None]
        return torch.exp(logits - total), torch.exp(self.mass[..., None] - total)

    def outputs(self, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """What attention to a prefix and to the conversation gives, [kv_heads, R, dim]."""
        to_prefix, own = self.shares(keys)
        return to_prefix @ values + own * self.found


@torch.no_grad()
def collect_references(
    model: LanguageModel, context: KVPrefix, turns: Sequence[Turn], most: int, seed: int = 0
) -> Generator[float, None, list[References]]:
    """Yields the share of the reading done; returns one `References` a layer, `most` rows at most."""
    geometry = model.geometry
    packs = pack_by_tokens(turns, PACK_TOKENS)
    parts: list[list[References]] = [[] for _ in range(geometry.layers)]
    for done, pack in enumerate(packs):
        with model.mixed_precision():
            tap = tap_turns(model, pack, context, range(geometry.layers))
        own = block_mask(pack, 0)[0, 0].to(model.device)
        for layer in range(geometry.layers):
            keys, values = (
                rows[layer][:, context.length :].float() for rows in (tap.keys, tap.values)
            )
            queries = tap.queries[layer].float().unflatten(0, (geometry.kv_heads, -1))
            parts[layer].append(_reference(queries, keys, values, own))
        yield (done + 1) / len(packs)
    chance = torch.Generator().manual_seed(seed)
    return [_sample(layer, most, chance) for layer in parts]


def _reference(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, own: torch.Tensor
) -> References:
    """Queries [kv_heads, group, T, dim] among the T tokens of their pack; `own` [T, T] says which a
    token may see.
    """
    logits = queries @ keys[:, None].transpose(-1, -2) * keys.shape[-1] ** -0.5
    logits = logits.masked_fill(~own, -torch.inf)
    mass = torch.logsumexp(logits, dim=-1)
    found = torch.exp(logits - mass[..., None]) @ values[:, None]
    return References(queries.flatten(1, 2), mass.flatten(1, 2), found.flatten(1, 2))


def _sample(parts: Sequence[References], most: int, chance: torch.Generator) -> References:
    whole = References(
        torch.cat([part.queries for part in parts], dim=1),
        torch.cat([part.mass for part in parts], dim=1),
        torch.cat([part.found for part in parts], dim=1),
    )
    rows = torch.randperm(whole.queries.shape[1], generator=chance)[:most]
    return whole.take(rows.to(whole.queries.device))
