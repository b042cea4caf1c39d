"""A prefix in eight bits: a scale for every channel of the keys and for every token of the values.

Keys have a few large channels that all tokens share, values a few large tokens (Liu et al. 2024, KIVI,
arXiv 2402.02750), so each scale follows what varies least along it.
"""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engine.errors import PrefixMismatchError
from engine.prefix import KVPrefix

_NAMES = {"keys", "key_scales", "values", "value_scales"}


def quantise(tensor: torch.Tensor, along: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole numbers of -127..127 and their scales, one for all entries along a dimension.

    [..., dim] -> the same shape as int8, and float32 with size 1 at `along`.
    """
    largest = tensor.float().abs().amax(dim=along, keepdim=True)
    scales = torch.where(largest > 0, largest, 1.0) / 127.0
    return (tensor.float() / scales).round().to(torch.int8), scales


def rounded(prefix: KVPrefix) -> KVPrefix:
    """The prefix as it comes back from its file in eight bits."""
    keys, key_scales = quantise(prefix.keys, along=2)
    values, value_scales = quantise(prefix.values, along=3)
    dtype = prefix.keys.dtype
    return KVPrefix(
        (keys * key_scales).to(dtype), (values * value_scales).to(dtype), prefix.query_offset
    )


def save_int8(prefix: KVPrefix, path: Path) -> None:
    """Writes one safetensors file of half a float16 prefix' size."""
    keys, key_scales = quantise(prefix.keys, along=2)
    values, value_scales = quantise(prefix.values, along=3)
    tensors = {
        "keys": keys, "key_scales": key_scales, "values": values, "value_scales": value_scales,
    }  # fmt: skip
    save_file(
        {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
        path,
        metadata={"query_offset": str(prefix.query_offset)},
    )


def load_int8(path: Path) -> KVPrefix:
    """Reads what `save_int8` wrote, as float32.

    Raises:
        PrefixMismatchError: the file lacks tensors or metadata, or holds scales that are not finite.
    """
    with safe_open(path, framework="pt") as file:
        offset = (file.metadata() or {}).get("query_offset", "")
        if set(file.keys()) != _NAMES or not offset.isdigit():
            raise PrefixMismatchError(
                f"{path.name} is no prefix in int8; build the cartridge again"
            )
        tensors = {name: file.get_tensor(name) for name in _NAMES}
    keys, values = (tensors[name] * tensors[f"{name[:-1]}_scales"] for name in ("keys", "values"))
    if not (torch.isfinite(keys).all() and torch.isfinite(values).all()):
        raise PrefixMismatchError(
            f"{path.name} holds values that are not finite; build the cartridge again"
        )
    return KVPrefix(keys, values, int(offset))
