"""Which attention heads are asked for evidence: calibrated ones where known, else the middle layers."""

import json
from dataclasses import dataclass
from importlib.resources import files

from engine.attention import Head
from engine.model import LanguageModel

# Relevance over layers is a bell whose top lies past the middle (Selective-ICR 2026, QRHead 2025).
_MIDDLE = (0.50, 0.62)


@dataclass(frozen=True, slots=True)
class RetrievalHeads:
    """Heads in the order (layer, head), and whether a calibration chose them."""

    heads: tuple[Head, ...]
    calibrated: bool

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(sorted({head.layer for head in self.heads}))

    def kv_heads(self, group: int) -> tuple[tuple[int, int], ...]:
        """Distinct (layer, KV head) whose keys must be stored; `group` query heads share one."""
        return tuple(sorted({(head.layer, head.head // group) for head in self.heads}))


def retrieval_heads(model: LanguageModel) -> RetrievalHeads:
    """The calibrated heads of this model, or all heads of its middle layers."""
    table = json.loads((files("retrieval") / "heads.json").read_text())["models"]
    if model.fingerprint in table:
        pairs = table[model.fingerprint]["heads"]
        return RetrievalHeads(tuple(sorted(Head(layer, head) for layer, head in pairs)), True)
    return RetrievalHeads(tuple(middle_heads(model.geometry.layers, model.geometry.heads)), False)


def middle_heads(layers: int, heads: int) -> list[Head]:
    """Every head of the layers between half and five eighths of the depth, one layer at least."""
    first = min(int(layers * _MIDDLE[0]), layers - 1)
    last = max(first + 1, int(layers * _MIDDLE[1]))
    return [Head(layer, head) for layer in range(first, last) for head in range(heads)]
