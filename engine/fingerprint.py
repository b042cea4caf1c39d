"""What identifies a model: weights, shape, positions, vocabulary. Precision and device do not."""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from engine.plain_file import read_plain
from engine.plain_folder import staged

_SHAPE_FIELDS = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
    "rope_parameters",
    "rope_theta",
    "rope_scaling",
)


def fingerprint_model(network: Any, tokenizer: Any, source: Path, data: Path) -> str:
    """SHA-256 over the weights' digest, the shape, the rope settings and the tokenizer.

    Weights of a local folder are hashed once, tensor by tensor, and remembered in the data
    folder by the files' sizes and times. Models that came from a hub cache are hashed from memory.
    """
    files = sorted(source.glob("*.safetensors")) if source.is_dir() else []
    weights = _remembered_digest(files, data) if files else state_digest(network)
    return combine(network.config, weights, tokenizer_digest(tokenizer))


def combine(config: Any, weights: str, tokenizer: str) -> str:
    """The fingerprint from its parts; equal parts give equal fingerprints on every machine."""
    shape = {name: getattr(config, name, None) for name in _SHAPE_FIELDS}
    text = json.dumps([shape, weights, tokenizer], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def state_digest(network: Any) -> str:
    """SHA-256 over all parameters in memory, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 over the vocabulary and the chat template, in a form no library version changes."""
    parts = [sorted(tokenizer.get_vocab().items()), tokenizer.chat_template]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _remembered_digest(paths: list[Path], data: Path) -> str:
    memory = data / "models" / "digests.json"
    stats = [(path.resolve(), path.stat()) for path in paths]
    key = ";".join(f"{path}:{stat.st_size}:{stat.st_mtime_ns}" for path, stat in stats)
    known: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        known = json.loads(read_plain(memory, data))
    if key not in known:
        known[key] = _tensors_digest(paths)
        with staged(memory, data) as staging:
            staging.write_text(json.dumps(known, indent=1))
    return known[key]


def _tensors_digest(paths: list[Path]) -> str:
    """Over names and stored bytes, not over files: the same weights written anew stay the same."""
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(safe_open(path, framework="pt")) for path in paths]
        holders = {name: file for file in files for name in list(file.keys())}
        for name, file in sorted(holders.items(), key=lambda pair: pair[0]):
            digest.update(name.encode())
            digest.update(file.get_tensor(name).contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
