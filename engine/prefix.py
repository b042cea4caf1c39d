"""An immutable KV prefix: what a model has already read, ready to be continued.

The only file that knows transformers' cache classes.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.cache_utils import Cache, DynamicLayer

from engine.errors import PrefixMismatchError
from engine.plain_file import plain_path


@dataclass(frozen=True, slots=True, eq=False)
class KVPrefix:
    """Rotated keys and values of every layer, and the position at which what follows starts.

    `keys` and `values` are [layers, kv_heads, tokens, dim]. `query_offset` is a logical position: a
    compressed prefix is shorter than the text whose place it takes (Zweiger et al. 2026, attention
    matching), so it can be larger than `length`.
    """

    keys: torch.Tensor
    values: torch.Tensor
    query_offset: int

    def __post_init__(self) -> None:
        if self.keys.shape != self.values.shape or self.keys.dim() != 4:
            raise PrefixMismatchError(
                f"keys {tuple(self.keys.shape)} and values {tuple(self.values.shape)} must both be "
                "[layers, kv_heads, tokens, dim]"
            )
        if self.query_offset < self.length:
            raise PrefixMismatchError(
                f"query_offset {self.query_offset} lies before the prefix's end {self.length}"
            )

    @property
    def length(self) -> int:
        """Rows held for each layer and KV head."""
        return int(self.keys.shape[2])

    @property
    def num_bytes(self) -> int:
        return 2 * self.keys.numel() * self.keys.element_size()

    def head(self, length: int) -> "KVPrefix":
        """The first `length` rows, with the question's place unchanged."""
        return KVPrefix(self.keys[:, :, :length], self.values[:, :, :length], self.query_offset)

    def to(self, device: torch.device, dtype: torch.dtype) -> "KVPrefix":
        return KVPrefix(
            self.keys.to(device, dtype), self.values.to(device, dtype), self.query_offset
        )


def save_prefix(prefix: KVPrefix, path: Path) -> None:
    """Writes the prefix as one safetensors file."""
    save_tensors({"keys": prefix.keys, "values": prefix.values}, prefix.query_offset, path)


def load_prefix(path: Path, root: Path | None = None) -> KVPrefix:
    """Reads what `save_prefix` wrote.

    Raises:
        PrefixMismatchError: the file lacks tensors or metadata, or holds values that are not finite.
        FileNotPlainError: it is a link, or lies behind one below `root`.
    """
    tensors, offset = load_tensors(path, {"keys", "values"}, root)
    prefix = KVPrefix(tensors["keys"], tensors["values"], offset)
    check_finite(prefix, path)
    return prefix


def save_tensors(tensors: Mapping[str, torch.Tensor], query_offset: int, path: Path) -> None:
    """Writes what a prefix is kept as, in whatever form, with its question's place."""
    save_file(
        {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
        path,
        metadata={"query_offset": str(query_offset)},
    )


def load_tensors(
    path: Path, names: Set[str], root: Path | None = None
) -> tuple[dict[str, torch.Tensor], int]:
    """Reads what `save_tensors` wrote under just these names: the tensors and the question's place.

    Raises:
        PrefixMismatchError: the file lacks tensors or metadata.
        FileNotPlainError: it is a link, or lies behind one below `root`.
    """
    with plain_path(path, root) as plain, safe_open(plain, framework="pt") as file:
        offset = (file.metadata() or {}).get("query_offset", "")
        if set(file.keys()) != names or not offset.isdigit():
            raise PrefixMismatchError(f"{path.name} is no KV prefix; build the cartridge again")
        return {name: file.get_tensor(name) for name in names}, int(offset)


def check_finite(prefix: KVPrefix, path: Path) -> None:
    """Raises PrefixMismatchError where a prefix read from a file holds values that are not finite."""
    if not (torch.isfinite(prefix.keys).all() and torch.isfinite(prefix.values).all()):
        raise PrefixMismatchError(
            f"{path.name} holds values that are not finite; build the cartridge again"
        )


class GrowingLayer(DynamicLayer):
    """A cache layer that writes into spare room, so that a decode step copies nothing old."""

    spare = 64

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._length = keys.shape[-2]
        self._rooms = [keys, values]
        self._expose()

    def _expose(self) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = (room[:, :, : self._length] for room in self._rooms)
        self.keys, self.values = keys, values
        return keys, values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        new = self._length + key_states.shape[-2]
        for place, states in enumerate((key_states, value_states)):
            room = self._rooms[place]
            if room.shape[-2] < new:
                grown = room.new_empty(
                    (*room.shape[:2], new + max(self.spare, new // 4), room.shape[3])
                )
                grown[:, :, : self._length] = room[:, :, : self._length]
                self._rooms[place] = room = grown
            room[:, :, self._length : new] = states
        self._length = new
        return self._expose()

    def get_seq_length(self) -> int:
        return self._length

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the last tokens, whose number comes negated; their room is written to again."""
        self._length += tokens_to_remove
        self._expose()


class JoinedLayer(DynamicLayer):
    """A cache layer that continues a prefix by concatenation, so that gradients reach it."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device = keys.dtype, keys.device
        self.keys, self.values = keys, values
        self.is_initialized = True


def growing_cache(keys: torch.Tensor, values: torch.Tensor) -> Cache:
    """A cache for decoding over [layers, batch, kv_heads, tokens, dim]; the input is not changed."""
    return Cache(layers=[GrowingLayer(key, value) for key, value in zip(keys, values, strict=True)])


def joined_cache(keys: torch.Tensor, values: torch.Tensor) -> Cache:
    """A cache over a single prefix [layers, kv_heads, tokens, dim] that keeps gradients."""
    return Cache(
        layers=[
            JoinedLayer(key[None], value[None]) for key, value in zip(keys, values, strict=True)
        ]
    )


def cache_tensors(cache: Cache) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of a filled cache, each [layers, batch, kv_heads, tokens, dim]."""
    layers: list[Any] = cache.layers
    return torch.stack([x.keys for x in layers]), torch.stack([x.values for x in layers])
