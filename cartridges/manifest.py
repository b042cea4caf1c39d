"""What a stored cartridge says of itself, and the checks that loading makes against it."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.model import LanguageModel
from engine.prefix import KVPrefix

FORMAT = 4
INT8 = "int8"


class CartridgeError(Exception):
    """A cartridge that must not be loaded; `reason` is a stable code, the message names the mend."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Part:
    """One prefix of a cartridge: the whole corpus' or, where that does not fit the model, a part's."""

    file: str
    sha256: str  # of the file
    prefix_tokens: int
    query_offset: int  # logical position of the first token behind the prefix
    frozen: int = 0  # leading rows that training never changed: the attention sink
    windows: tuple[str, ...] = ()  # digests of the corpus' windows that it was made from
    studied: str = ""  # the file of the conversations that it was made from
    studied_sha256: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # a point an evaluation

    def __post_init__(self) -> None:
        """Raises ValueError where a field holds what it cannot."""
        names = (self.file, self.sha256, self.studied, self.studied_sha256, *self.windows)
        curves = (value for curve in self.curves.values() for value in curve)
        if not (self.file and all(isinstance(name, str) for name in names)):
            raise ValueError("names and digests are texts")
        if not 1 <= self.prefix_tokens <= self.query_offset or not _are_numbers(self.frozen):
            raise ValueError("a prefix has a row at least, and the question stands behind it")
        if not _are_numbers(*self.metrics.values(), *curves):
            raise ValueError("metrics and curves are numbers")

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Part":
        curves = {name: tuple(values) for name, values in fields["curves"].items()}
        return cls(**{**fields, "windows": tuple(fields["windows"]), "curves": curves})

    def check_prefix(self, prefix: KVPrefix, shape: Sequence[int]) -> None:
        """Raises CartridgeError CARTRIDGE_DAMAGED where tensors are not what the manifest says.

        `shape` is the cartridge's (layers, KV heads, dim).
        """
        layers, kv_heads, dim = shape
        expected = (layers, kv_heads, self.prefix_tokens, dim)
        if tuple(prefix.keys.shape) != expected or prefix.query_offset != self.query_offset:
            raise CartridgeError(
                "CARTRIDGE_DAMAGED",
                f"{self.file} has shape {tuple(prefix.keys.shape)} for a question at "
                f"{prefix.query_offset}, the manifest says {expected} at {self.query_offset}; "
                "train the cartridge again",
            )


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that decides whether a cartridge fits, and what was measured when it was built."""

    format: int
    model_fingerprint: str
    tokenizer_digest: str
    rope: Mapping[str, Any]
    layers: int
    kv_heads: int
    head_dim: int
    dtype: str  # a torch dtype's name, or int8
    corpus_digest: str
    parts: tuple[Part, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError where a field holds what it cannot."""
        texts = (self.model_fingerprint, self.tokenizer_digest, self.dtype, self.corpus_digest)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("fingerprints, digests and the dtype are texts")
        if not all(isinstance(size, int) and size > 0 for size in self.shape):
            raise ValueError("layers, KV heads and dim are above 0")
        if not (isinstance(self.rope, Mapping) and isinstance(self.recipe, Mapping)):
            raise ValueError("rope and recipe are mappings")
        if not self.parts or not _are_numbers(*self.metrics.values()):
            raise ValueError("there is a part at least, and metrics are numbers")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, KV heads and dim, which every part has."""
        return self.layers, self.kv_heads, self.head_dim

    @property
    def prefix_tokens(self) -> int:
        """Rows of the longest part: what one question loads at most."""
        return max(part.prefix_tokens for part in self.parts)

    @property
    def query_offset(self) -> int:
        """The furthest position at which a question is asked."""
        return max(part.query_offset for part in self.parts)

    @property
    def tensor_digest(self) -> str:
        """SHA-256 over the digests of the tensor files."""
        return hashlib.sha256("".join(part.sha256 for part in self.parts).encode()).hexdigest()

    @property
    def windows(self) -> frozenset[str]:
        """Digests of all windows that were studied."""
        return frozenset(digest for part in self.parts for digest in part.windows)

    def part_of(self, window: str) -> int:
        """The number of the part that knows a window; 0 where none does."""
        known = (i for i, part in enumerate(self.parts) if window in part.windows)
        return next(known, 0)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Raises CartridgeError CARTRIDGE_FORMAT where another version wrote it, whatever its fields,
        and CARTRIDGE_DAMAGED where it is no manifest.
        """
        try:
            fields = json.loads(text)
            found = fields["format"]
            if found == FORMAT:
                parts = tuple(Part.from_fields(part) for part in fields["parts"])
                return cls(**{**fields, "parts": parts})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CartridgeError(
                "CARTRIDGE_DAMAGED", "manifest.json is damaged; train the cartridge again"
            ) from error
        raise CartridgeError(
            "CARTRIDGE_FORMAT",
            f"the cartridge has format {found}, this version reads {FORMAT}; train it again",
        )

    def check_model(self, model: LanguageModel) -> None:
        """Raises CartridgeError CARTRIDGE_MODEL_MISMATCH where the cartridge is another model's."""
        difference = self._difference(model)
        if self.model_fingerprint == model.fingerprint and not difference:
            return
        raise CartridgeError(
            "CARTRIDGE_MODEL_MISMATCH",
            f"the cartridge was trained for model {self.model_fingerprint[:12]}, the server runs "
            f"{model.fingerprint[:12]} ({difference or 'the same shape, other weights'}); train it "
            "again or serve that model",
        )

    def _difference(self, model: LanguageModel) -> str:
        geometry = model.geometry
        if self.shape != (geometry.layers, geometry.kv_heads, geometry.head_dim):
            return "another shape"
        if dict(self.rope) != model.rope:
            return "the same shape, other rotary settings"
        if self.tokenizer_digest != model.tokenizer_digest:
            return "another tokenizer"
        return ""


def _are_numbers(*values: object) -> bool:
    """Whether all are finite numbers, and no truth values."""
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    )
