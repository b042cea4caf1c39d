"""The start that no training of the model makes: attention matching (Zweiger et al. 2026, arXiv
2602.16284, without biases), fitted where the prefix is used, and then refined.

For each layer and KV head, the keys that reference queries attend to most are kept, and their values are
refitted by ridge least squares so that attention over the few, beside a query's own conversation, gives
what attention over all gave. Then keys and values both descend on the same error, layer by layer: what
a few kept keys cannot say, moved ones can. No gradient goes through the model.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import torch

from cartridges.references import References
from engine.prefix import KVPrefix

_ROWS = 1024  # reference rows whose attention to the whole context is held at once


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """`queries` bounds the reference rows of one KV head; `ridge` is relative to the mean diagonal.

    `steps` of refinement, of `batch` rows each or fewer for a long prefix, start at `rate` deviations
    of what they change; 0 leaves the closed form.
    """

    queries: int = 8192
    ridge: float = 1e-3
    forced: int = 4  # first rows are always kept: the attention sink and the template's opening
    steps: int = 100
    batch: int = 1024
    rate: float = 0.05
    frozen: int = 1  # rows that refinement leaves: the attention sink
    seed: int = 0

    def closed_form(self) -> "MatchSettings":
        """The same without refinement."""
        return replace(self, steps=0)

    def batch_for(self, length: int) -> int:
        """Rows a step for a prefix of `length` rows: beyond 128 of them a step costs no more."""
        return max(256, min(self.batch, self.batch * 128 // length))


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What attention to a whole context gives: outputs [kv_heads, R, dim], and what falls on each of its
    rows, squared and summed, [kv_heads, tokens].
    """

    outputs: torch.Tensor
    importance: torch.Tensor


def match_prefix(
    context: KVPrefix, references: Sequence[References], length: int, settings: MatchSettings
) -> Generator[float, None, KVPrefix]:
    """Yields the share of the work done, 0..1; returns a prefix of `length` rows for `context`.

    `references` are one a layer. The question stays at its original position (`query_offset` of the
    context).
    """
    length = min(length, context.length)
    keys, values = [], []
    for layer, own in enumerate(references):
        # Cloned outside inference mode: autograd refuses tensors that were made inside it.
        whole = context.keys[layer].float().clone(), context.values[layer].float().clone()
        targets = attend(own, *whole)
        fitted = [
            fit_head(
                own.head(i), targets.outputs[i], targets.importance[i], *rows, length, settings
            )
            for i, rows in enumerate(zip(*whole, strict=True))
        ]
        start = torch.stack([one[0] for one in fitted]), torch.stack([one[1] for one in fitted])
        refined = refine(own, targets.outputs, *start, settings, layer)
        keys.append(refined[0].to(context.keys.dtype))
        values.append(refined[1].to(context.keys.dtype))
        yield (layer + 1) / len(references)
    return KVPrefix(torch.stack(keys), torch.stack(values), context.query_offset)


@torch.no_grad()
def fit_head(
    references: References,
    targets: torch.Tensor,
    importance: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    length: int,
    settings: MatchSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys kept of one head, in order, and their refitted values, both [length, dim].

    `references` are the head's, `targets` [R, dim] the outputs to be matched, `importance` [tokens] the
    squared attention that falls on each row of `keys` and `values` [tokens, dim]. The most important
    rows are kept; values solve ridge least squares of what the prefix has to add to the query's own
    conversation, pulled towards the original values.
    """
    ranked = importance.clone()
    ranked[: min(settings.forced, length)] = torch.inf  # topk breaks ties as it likes
    kept = ranked.topk(length).indices.sort().values
    shares, own = references.shares(keys[None, kept])
    small, missing = shares[0], targets - own[0] * references.found[0]
    gram = small.T @ small
    ridge = settings.ridge * gram.diagonal().mean()
    gram = gram + ridge * torch.eye(length, device=gram.device)
    fitted = torch.linalg.solve(gram, small.T @ missing + ridge * values[kept])
    return keys[kept], fitted


@torch.enable_grad()
def refine(
    references: References,
    targets: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    settings: MatchSettings,
    seed: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of one layer [kv_heads, p, dim] after descent on the error of their outputs.

    `targets` are [kv_heads, R, dim]. Adam with a cosine down to nothing.
    """
    parts = [keys.clone().requires_grad_(True), values.clone().requires_grad_(True)]
    rates = [settings.rate * float(part.detach().std()) for part in parts]
    optimizer = torch.optim.Adam(
        [{"params": [part], "lr": rate} for part, rate in zip(parts, rates, strict=True)]
    )
    scale = targets.square().mean().clamp(min=1e-12)
    chance = torch.Generator().manual_seed(settings.seed * 1_000_003 + seed)
    batch = settings.batch_for(keys.shape[1])
    for step in range(settings.steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * step / settings.steps))
        rows = torch.randint(targets.shape[1], (batch,), generator=chance)
        rows = rows.to(targets.device)
        error = references.take(rows).outputs(*parts) - targets[:, rows]
        optimizer.zero_grad()
        (error.square().mean() / scale).backward()
        for part in parts:
            assert part.grad is not None
            part.grad[:, : settings.frozen] = 0.0
        optimizer.step()
    return parts[0].detach(), parts[1].detach()


@torch.no_grad()
def attend(references: References, keys: torch.Tensor, values: torch.Tensor) -> Targets:
    """Attention to a whole context [kv_heads, tokens, dim], some reference rows at once."""
    outputs, importance = [], torch.zeros(keys.shape[:2], device=keys.device)
    for start in range(0, references.queries.shape[1], _ROWS):
        block = references.take(slice(start, start + _ROWS))
        shares, own = block.shares(keys)
        outputs.append(shares @ values + own * block.found)
        importance += shares.square().sum(dim=1)
    return Targets(torch.cat(outputs, dim=1), importance)


def truncate_prefix(context: KVPrefix, length: int) -> KVPrefix:
    """The first rows as they are: the paper's own start, and the one to beat."""
    return context.head(min(length, context.length))
