"""The closed-form start: attention matching (Zweiger et al. 2026, arXiv 2602.16284, without biases).

For each layer and KV head, the keys that reference queries attend to most are kept where they are, and
their values are refitted so that attention over the few gives what attention over all gave.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from cartridges.lessons import PACK_TOKENS
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.scoring import Turn, pack_by_tokens, tap_turns


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """`queries` bounds the reference rows of one KV head; `ridge` is relative to the mean diagonal."""

    queries: int = 4096
    ridge: float = 1e-3
    forced: int = 4  # first rows are always kept: the attention sink and the template's opening
    seed: int = 0


@torch.inference_mode()
def match_prefix(
    model: LanguageModel,
    context: KVPrefix,
    turns: Sequence[Turn],
    length: int,
    settings: MatchSettings,
) -> Generator[float, None, KVPrefix]:
    """Yields the share of the work done, 0..1; returns a prefix of `length` rows for `context`.

    The question stays at its original position (`query_offset` of the context).
    """
    queries = yield from _reference_queries(model, context, turns, settings)
    layers, kv_heads, rows, dim = context.keys.shape
    length = min(length, rows)
    keys = context.keys.new_empty(layers, kv_heads, length, dim)
    values = torch.empty_like(keys)
    for layer in range(layers):
        for head in range(kv_heads):
            kept, fitted = fit_head(
                queries[layer][head],
                context.keys[layer, head].float(),
                context.values[layer, head].float(),
                length,
                settings,
            )
            keys[layer, head] = context.keys[layer, head, kept]
            values[layer, head] = fitted.to(values.dtype)
        yield 0.5 + 0.5 * (layer + 1) / layers
    return KVPrefix(keys, values, context.query_offset)


def fit_head(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    length: int,
    settings: MatchSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows kept [length], in order, and their refitted values [length, dim].

    `queries` [rows, dim], `keys` and `values` [tokens, dim]. Rows are chosen by root mean square
    attention; values solve ridge least squares of the full output on the kept rows' attention, pulled
    towards the original values.
    """
    scale = keys.shape[-1] ** -0.5
    attention = torch.softmax(queries @ keys.T * scale, dim=-1)  # [rows, tokens]
    importance = attention.square().mean(dim=0)
    importance[: min(settings.forced, length)] = torch.inf  # topk breaks ties as it likes
    kept = importance.topk(length).indices.sort().values
    target = attention @ values
    small = torch.softmax(queries @ keys[kept].T * scale, dim=-1)  # [rows, length]
    gram = small.T @ small
    ridge = settings.ridge * gram.diagonal().mean()
    gram = gram + ridge * torch.eye(length, device=gram.device)
    fitted = torch.linalg.solve(gram, small.T @ target + ridge * values[kept])
    return kept, fitted


def truncate_prefix(context: KVPrefix, length: int) -> KVPrefix:
    """The first rows as they are: the paper's own start, and the one to beat."""
    return context.head(min(length, context.length))


def _reference_queries(
    model: LanguageModel, context: KVPrefix, turns: Sequence[Turn], settings: MatchSettings
) -> Generator[float, None, list[torch.Tensor]]:
    """Queries of the conversations read with the full context: [layer][kv head] -> [rows, dim]."""
    geometry = model.geometry
    packs = pack_by_tokens(turns, PACK_TOKENS)
    parts: list[list[torch.Tensor]] = [[] for _ in range(geometry.layers)]
    for done, pack in enumerate(packs):
        tap = tap_turns(model, pack, context, range(geometry.layers))
        for layer in range(geometry.layers):
            parts[layer].append(tap.queries[layer].float().clone())
        yield 0.5 * (done + 1) / len(packs)
    pooled = []
    chance = torch.Generator().manual_seed(settings.seed)
    for layer in range(geometry.layers):
        rows = torch.cat(parts[layer], dim=1)  # [heads, tokens, dim]
        grouped = rows.reshape(geometry.kv_heads, -1, geometry.head_dim)
        chosen = torch.randperm(grouped.shape[1], generator=chance)[: settings.queries]
        pooled.append(grouped[:, chosen.to(rows.device)])
    return pooled
