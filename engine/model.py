"""A loaded language model: network, tokenizer, shape, fingerprint. Loading is apart from use."""

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import Cache
from transformers.utils.logging import disable_progress_bar

from engine import attention
from engine.config import (
    DEFAULT_MODEL,
    EngineConfig,
    resolve_device,
    resolve_precision,
    resolve_threads,
)
from engine.control_tokens import ControlTokens
from engine.errors import EngineError, ModelMissingError
from engine.fingerprint import fingerprint_model, tokenizer_digest
from engine.geometry import Geometry, check_supported
from engine.prefix import JoinedLayer, KVPrefix, cache_tensors, joined_cache
from engine.wheels import default_model_folder


class LanguageModel:
    """A decoder-only transformer with full attention, its tokenizer and its identity.

    Not safe for two threads at once: its owner gives it one thread.
    """

    def __init__(
        self, name: str, network: Any, tokenizer: Any, fingerprint: str, mixes: bool = False
    ) -> None:
        check_supported(network.config)
        self.name = name
        self.network = network.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint
        self.geometry = Geometry.of(network.config)
        self.num_parameters: int = network.num_parameters()
        self.device: torch.device = network.device
        self.dtype: torch.dtype = network.dtype
        self._mixes = mixes
        # Fast tokenizers keep truncation state inside: two threads must not meet in one.
        self._tokenizing = threading.Lock()

    @classmethod
    def load(cls, config: EngineConfig) -> "LanguageModel":
        """Loads a model by folder, hub id, or `DEFAULT_MODEL`.

        Raises:
            ModelMissingError: the files cannot be found.
            ModelUnsupportedError: the model cannot carry a KV prefix.
        """
        torch.set_num_threads(resolve_threads(config.threads))
        attention.register()
        disable_progress_bar()
        device = resolve_device(config.device)
        precision = resolve_precision(config.dtype, device)
        source = (
            default_model_folder(config.data) if config.model == DEFAULT_MODEL else config.model
        )
        try:
            check_supported(AutoConfig.from_pretrained(source))
            tokenizer = AutoTokenizer.from_pretrained(source)
            network: Any = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=precision.dtype,
                attn_implementation=attention.IMPLEMENTATION,
                use_safetensors=True,
            )
        except (OSError, ValueError) as error:
            raise ModelMissingError(
                f"model {config.model!r} cannot be loaded: {_first_line(error)}; "
                "name a local folder with safetensors, or a hub id this machine can reach"
            ) from error
        network = network.to(device)
        return cls(
            config.model,
            network,
            tokenizer,
            fingerprint_model(network, tokenizer, Path(source), config.data),
            precision.mixes,
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; what looks like a control token is encoded as text."""
        return self.encode_with_spans(text)[0]

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of plain text and each token's character span in it."""
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        with self._tokenizing:
            for place, piece in self._control_tokens.pieces(text):
                batch = self.tokenizer(
                    piece,
                    add_special_tokens=False,
                    split_special_tokens=True,
                    return_offsets_mapping=True,
                    verbose=False,
                )
                ids += batch["input_ids"]
                spans += [
                    (place + int(start), place + int(end)) for start, end in batch["offset_mapping"]
                ]
        return ids, spans

    @cached_property
    def _control_tokens(self) -> ControlTokens:
        return ControlTokens.of(self.tokenizer)

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer, from the generation settings and the tokenizer."""
        configured = self.network.generation_config.eos_token_id
        ids = configured if isinstance(configured, list) else [configured]
        return frozenset(i for i in [*ids, self.tokenizer.eos_token_id] if i is not None)

    @cached_property
    def tokenizer_digest(self) -> str:
        """SHA-256 over the vocabulary and the chat template."""
        return tokenizer_digest(self.tokenizer)

    @property
    def rope(self) -> dict[str, Any]:
        """The rotary settings of the model's configuration."""
        return dict(getattr(self.network.config, "rope_parameters", None) or {})

    def empty_kv(self) -> torch.Tensor:
        """An empty [kv_heads, 0, dim] tensor with this model's shape, device and dtype."""
        shape = (self.geometry.kv_heads, 0, self.geometry.head_dim)
        return torch.empty(shape, device=self.device, dtype=self.dtype)

    def mixed_precision(self) -> AbstractContextManager[object]:
        """Within it matrices are multiplied in bfloat16 where the model mixes, in half of the time and
        less. That moves predictions by some 2e-4 nats: for training and indexing, not for answers and
        not for measuring.
        """
        return torch.autocast(self.device.type, torch.bfloat16) if self._mixes else nullcontext()

    def positions(self, start: int, count: int) -> torch.Tensor:
        return torch.arange(start, start + count, device=self.device)[None]

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int], past: KVPrefix | None = None) -> KVPrefix:
        """Reads tokens (after `past`, where given) and keeps their keys and values."""
        start = past.query_offset if past else 0
        cache = joined_cache(past.keys, past.values) if past else Cache(layers=_empty_layers(self))
        self.network.model(
            input_ids=torch.tensor([list(ids)], device=self.device),
            position_ids=self.positions(start, len(ids)),
            past_key_values=cache,
            use_cache=True,
        )
        keys, values = cache_tensors(cache)
        return KVPrefix(keys[:, 0], values[:, 0], start + len(ids))

    @torch.inference_mode()
    def tap(
        self,
        ids: Sequence[int],
        layers: Sequence[int],
        start: int = 0,
        past: KVPrefix | None = None,
    ) -> attention.Tap:
        """Rotated queries and keys of chosen layers for tokens at positions `start`...; the pass
        ends at the deepest layer asked for. With `past`, its keys stand before the tokens' own.
        """
        tap = attention.Tap(frozenset(layers))
        cache = joined_cache(past.keys, past.values) if past else None
        rows = torch.tensor([list(ids)], device=self.device)
        return self._run(tap, rows, start, cache)

    @torch.inference_mode()
    def keys(
        self, batch: Sequence[Sequence[int]], layers: Sequence[int]
    ) -> dict[int, torch.Tensor]:
        """Rotated keys of several texts read at once, each from position 0: for each layer asked for
        [texts, kv_heads, longest text, dim]. What stands behind a shorter text's end means nothing.
        """
        longest = max(len(ids) for ids in batch)
        # Attention is causal: padding behind a text cannot reach what stands before it.
        padded = [[*ids, *([0] * (longest - len(ids)))] for ids in batch]
        tap = attention.Tap(frozenset(layers), batched=True)
        with self.mixed_precision():
            return self._run(tap, torch.tensor(padded, device=self.device), 0, None).keys

    def _run(
        self, tap: attention.Tap, rows: torch.Tensor, start: int, cache: Cache | None
    ) -> attention.Tap:
        try:
            self.network.model(
                input_ids=rows,
                position_ids=self.positions(start, rows.shape[1]),
                past_key_values=cache,
                use_cache=cache is not None,
                tap=tap,
            )
        except attention.Enough:
            return tap
        raise EngineError(f"the model has no layer {max(tap.layers)}")


def _empty_layers(model: LanguageModel) -> list[Any]:
    empty = model.empty_kv()[None]
    return [JoinedLayer(empty, empty) for _ in range(model.geometry.layers)]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
