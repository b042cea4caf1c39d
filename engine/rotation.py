"""Moving what a model has read: rotated keys turned to other positions.

Rotary attention sees only how far a key lies behind a query (Su et al. 2021, eq. 16), so keys that are
all turned by the same number of positions serve a question that moved as far.
"""

import torch

from engine.errors import ModelUnsupportedError
from engine.model import LanguageModel
from engine.prefix import KVPrefix

_GROWING = {"dynamic", "longrope"}  # their angles depend on how much was read
_PROBE_SHIFT = 7


def move_prefix(model: LanguageModel, prefix: KVPrefix, query_offset: int) -> KVPrefix:
    """The prefix for a question that starts at `query_offset`: keys turned by as much, values kept.

    Logits behind it stay what they were, up to rounding.

    Raises:
        ModelUnsupportedError: the model's positions cannot be moved.
        PrefixMismatchError: `query_offset` lies before the prefix's end.
    """
    if query_offset == prefix.query_offset:
        return prefix
    check_movable(model)
    shift = query_offset - prefix.query_offset
    return KVPrefix(turn_keys(model, prefix.keys, shift), prefix.values, query_offset)


def turn_keys(model: LanguageModel, keys: torch.Tensor, shift: int) -> torch.Tensor:
    """Rotated keys [..., dim] as they would be `shift` positions later; below 0 is earlier.

    Computed in float32: angles in half precision are wrong by whole positions.
    """
    rates = model.network.model.rotary_emb.inv_freq.float().to(keys.device)
    angles = torch.cat([rates, rates]) * float(shift)
    turned, still = keys[..., : len(angles)].float(), keys[..., len(angles) :]
    first, second = turned.chunk(2, dim=-1)
    quarter = torch.cat([-second, first], dim=-1)
    moved = turned * angles.cos() + quarter * angles.sin()
    return torch.cat([moved.to(keys.dtype), still], dim=-1)


def check_movable(model: LanguageModel) -> None:
    """Reads one token at two positions: turning the one must give the other.

    Raises:
        ModelUnsupportedError: angles that grow with the text, or keys that are turned another way.
    """
    if model.rope.get("rope_type") in _GROWING or not _turns_like(model):
        raise ModelUnsupportedError(
            f"{model.name} does not turn its keys by halves at constant rates, so its prefixes "
            "cannot be moved to other positions; use them where they were trained"
        )


def _turns_like(model: LanguageModel) -> bool:
    if not hasattr(getattr(model.network.model, "rotary_emb", None), "inv_freq"):
        return False
    one = model.encode("a")[:1]
    near, far = (model.tap(one, [0], start).keys[0] for start in (0, _PROBE_SHIFT))
    moved = turn_keys(model, near, _PROBE_SHIFT)
    return torch.allclose(moved.float(), far.float(), rtol=0.02, atol=0.02 * float(far.abs().max()))
