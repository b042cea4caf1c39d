"""The shape of a model's keys and values, and which models can carry a prefix of them at all."""

from dataclasses import dataclass
from typing import Any

from engine.errors import ModelUnsupportedError


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape that a KV prefix of this model has."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    window: int  # positions the model was trained for

    @classmethod
    def of(cls, config: Any) -> "Geometry":
        """From the configuration of a model that `check_supported` lets pass."""
        heads = config.num_attention_heads
        return cls(
            layers=config.num_hidden_layers,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            window=config.max_position_embeddings,
        )


def check_supported(config: Any) -> None:
    """Refuses what cannot carry a KV prefix.

    Raises:
        ModelUnsupportedError: names the kind of layer that stands in the way.
    """
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"]) - {"full_attention"}
    if kinds:
        raise ModelUnsupportedError(
            f"{config.model_type} has {', '.join(sorted(kinds))} layers, which forget or compress "
            "what a prefix must keep; choose a model with full attention in every layer"
        )
    uses_window = getattr(config, "use_sliding_window", True)
    if getattr(config, "sliding_window", None) and uses_window:
        raise ModelUnsupportedError(
            f"{config.model_type} attends through a sliding window of {config.sliding_window} tokens, "
            "so a prefix would be forgotten; set sliding_window to null in its config if it was "
            "trained with full attention, or choose another model"
        )
    if getattr(config, "is_encoder_decoder", False) or not hasattr(config, "num_attention_heads"):
        raise ModelUnsupportedError(
            f"{config.model_type} is no decoder-only attention model; choose Llama, Qwen2, Qwen3, "
            "Mistral or a relative"
        )
    if hasattr(config, "kv_lora_rank"):
        raise ModelUnsupportedError(
            f"{config.model_type} stores latent keys and values, which a prefix cannot address"
        )
