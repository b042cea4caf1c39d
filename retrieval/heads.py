"""Which attention heads are asked for evidence: calibrated ones where known, else the middle layers."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from engine.attention import Head
from engine.model import LanguageModel
from engine.plain_file import read_plain
from retrieval.pooling import POOLINGS, Pooling

# Relevance over layers is a bell whose top lies past the middle (Selective-ICR 2026, QRHead 2025).
_MIDDLE = (0.50, 0.62)


@dataclass(frozen=True, slots=True)
class RetrievalHeads:
    """`search` heads are asked over stored keys; `dense` is the weight of the embedder's cosine beside
    the attention; `pooling` makes one logit of those of a sentence's keys.
    """

    search: tuple[Head, ...]
    dense: float = 0.0
    calibrated: bool = False
    pooling: Pooling = "max"

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(sorted({head.layer for head in self.search}))

    def kv_heads(self, group: int) -> tuple[tuple[int, int], ...]:
        """Distinct (layer, KV head) whose keys must be stored; `group` query heads share one."""
        return tuple(sorted({(head.layer, head.head // group) for head in self.search}))

    def as_json(self) -> dict[str, Any]:
        return {
            "search": [[head.layer, head.head] for head in self.search],
            "dense": self.dense,
            "pooling": self.pooling,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "RetrievalHeads":
        """Raises ValueError where the pooling is none that is known."""
        pooling = fields.get("pooling", "max")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling {pooling!r} is none of {', '.join(POOLINGS)}")
        search = tuple(sorted(Head(layer, head) for layer, head in fields["search"]))
        return cls(search, float(fields["dense"]), True, pooling)


def retrieval_heads(
    model: LanguageModel, folder: Path | None = None, root: Path | None = None
) -> RetrievalHeads:
    """The calibrated heads of this model: of `folder` where it was calibrated here, else as shipped;
    all heads of its middle layers where it never was.

    Raises FileNotPlainError where the file is a link, or lies behind one below `root`.
    """
    if folder:
        with suppress(FileNotFoundError):
            own = read_plain(folder / f"{model.fingerprint}.json", root)
            return RetrievalHeads.from_json(json.loads(own))
    shipped = json.loads((files("retrieval") / "heads.json").read_text(encoding="utf-8"))["models"]
    if model.fingerprint in shipped:
        return RetrievalHeads.from_json(shipped[model.fingerprint])
    middle = tuple(middle_heads(model.geometry.layers, model.geometry.heads))
    return RetrievalHeads(middle)


def middle_heads(layers: int, heads: int) -> list[Head]:
    """Every head of the layers between half and five eighths of the depth, one layer at least."""
    first = min(int(layers * _MIDDLE[0]), layers - 1)
    last = max(first + 1, int(layers * _MIDDLE[1]))
    return [Head(layer, head) for layer in range(first, last) for head in range(heads)]
