"""A prefix in eight bits: a scale for every channel of the keys and for every token of the values.

Keys have a few large channels that all tokens share, values a few large tokens (Liu et al. 2024, KIVI,
arXiv 2402.02750), so each scale follows what varies least along it.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from engine.errors import PrefixMismatchError
from engine.prefix import KVPrefix, check_finite, load_tensors, save_tensors

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
    restored = _restored(_quantised(prefix), prefix.query_offset)
    return restored.to(prefix.keys.device, prefix.keys.dtype)


def save_int8(prefix: KVPrefix, path: Path) -> None:
    """Writes one safetensors file of half a float16 prefix' size."""
    save_tensors(_quantised(prefix), prefix.query_offset, path)


def load_int8(path: Path, root: Path | None = None) -> KVPrefix:
    """Reads what `save_int8` wrote, as float32.

    Raises:
        PrefixMismatchError: the file lacks tensors or metadata, or holds tensors of other types or
            shapes than these, or values that are not finite.
        FileNotPlainError: it is a link, or lies behind one below `root`.
    """
    tensors, query_offset = load_tensors(path, _NAMES, root)
    for name, along in (("keys", 2), ("values", 3)):
        whole, scales = tensors[name], tensors[f"{name[:-1]}_scales"]
        expected = [1 if i == along else size for i, size in enumerate(whole.shape)]
        if whole.dtype is not torch.int8 or whole.dim() != 4 or list(scales.shape) != expected:
            raise PrefixMismatchError(
                f"{path.name} holds {name} of {whole.dtype} {tuple(whole.shape)} with scales of "
                f"{tuple(scales.shape)}; build the cartridge again"
            )
    prefix = _restored(tensors, query_offset)
    check_finite(prefix, path)
    return prefix


def _quantised(prefix: KVPrefix) -> dict[str, torch.Tensor]:
    keys, key_scales = quantise(prefix.keys, along=2)
    values, value_scales = quantise(prefix.values, along=3)
    return {"keys": keys, "key_scales": key_scales, "values": values, "value_scales": value_scales}


def _restored(tensors: Mapping[str, torch.Tensor], query_offset: int) -> KVPrefix:
    return KVPrefix(
        tensors["keys"] * tensors["key_scales"],
        tensors["values"] * tensors["value_scales"],
        query_offset,
    )
