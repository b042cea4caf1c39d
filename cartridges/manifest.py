"""What a stored cartridge says of itself, and the checks that loading makes against it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.model import Geometry, LanguageModel
from engine.prefix import KVPrefix

FORMAT = 1


class CartridgeError(Exception):
    """A cartridge that must not be loaded; `reason` is a stable code, the message names the mend."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that decides whether a cartridge fits, and what was measured when it was built."""

    format: int
    model_fingerprint: str
    corpus_digest: str
    layers: int
    kv_heads: int
    head_dim: int
    prefix_tokens: int
    query_offset: int  # logical position of the first token behind the cartridge
    dtype: str
    tensor_digest: str  # SHA-256 of prefix.safetensors
    recipe: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

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
                return cls(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise CartridgeError(
                "CARTRIDGE_DAMAGED", "manifest.json is damaged; train the cartridge again"
            ) from error
        raise CartridgeError(
            "CARTRIDGE_FORMAT",
            f"the cartridge has format {found}, this version reads {FORMAT}; train it again",
        )

    def check_model(self, model: LanguageModel) -> None:
        """Raises CartridgeError CARTRIDGE_MODEL_MISMATCH where the cartridge is another model's."""
        if self.model_fingerprint != model.fingerprint:
            raise CartridgeError(
                "CARTRIDGE_MODEL_MISMATCH",
                f"the cartridge was trained for model {self.model_fingerprint[:12]}, the server runs "
                f"{model.fingerprint[:12]}; train it again or serve that model",
            )

    def check_prefix(self, prefix: KVPrefix, geometry: Geometry) -> None:
        """Raises CartridgeError CARTRIDGE_DAMAGED where tensors are not what the manifest says."""
        expected = (geometry.layers, geometry.kv_heads, self.prefix_tokens, geometry.head_dim)
        if tuple(prefix.keys.shape) != expected or prefix.query_offset != self.query_offset:
            raise CartridgeError(
                "CARTRIDGE_DAMAGED",
                f"the tensors have shape {tuple(prefix.keys.shape)}, the manifest says {expected}; "
                "train the cartridge again",
            )
