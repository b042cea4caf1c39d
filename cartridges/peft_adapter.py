"""Cartridges as adapters of PEFT (its `CARTRIDGE` type) and back.

PEFT asks its question right behind the rows, at position p, so a cartridge whose question stands further
off is moved there; and it knows no manifest, so what comes from it fits only by its shape.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cartridges.manifest import CartridgeError
from cartridges.store import BuiltPart
from engine.errors import FileNotPlainError
from engine.geometry import Geometry
from engine.model import LanguageModel
from engine.plain_file import plain_path, read_plain
from engine.plain_folder import staged
from engine.prefix import KVPrefix
from engine.rotation import move_prefix

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"


def export_adapter(folder: Path, model: LanguageModel, part: BuiltPart) -> None:
    """Writes a folder that `PeftModel.from_pretrained` reads.

    Raises:
        ModelUnsupportedError: the question does not stand behind the rows, and the model's keys
            cannot be moved.
    """
    prefix = move_prefix(model, part.prefix, part.prefix.length)
    geometry = model.geometry
    config = {
        "peft_type": "CARTRIDGE",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.name,
        "inference_mode": True,
        "num_virtual_tokens": prefix.length,
        "num_frozen_tokens": part.frozen,
        "num_layers": geometry.layers,
        "num_attention_heads": geometry.kv_heads,
        "token_dim": geometry.kv_heads * geometry.head_dim,
        "num_transformer_submodules": 1,
    }
    with staged(folder / TENSORS) as staging:
        save_file({"prompt_embeddings": _flat(prefix)}, staging)
    with staged(folder / CONFIG) as staging:
        staging.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def import_adapter(folder: Path, model: LanguageModel) -> BuiltPart:
    """A prefix from an adapter's folder, with its question right behind the rows.

    Raises:
        CartridgeError: CARTRIDGE_MISSING, CARTRIDGE_DAMAGED, FILE_NOT_PLAIN, or
            CARTRIDGE_MODEL_MISMATCH where its shape is another model's.
    """
    config = _read_config(folder)
    tensors = _read_tensors(folder)
    rows, frozen = config.get("num_virtual_tokens"), config.get("num_frozen_tokens", 0)
    geometry = model.geometry
    expected = (rows, geometry.layers * 2 * geometry.kv_heads * geometry.head_dim)
    if tuple(tensors.shape) != expected:
        raise CartridgeError(
            "CARTRIDGE_MODEL_MISMATCH",
            f"{TENSORS} has shape {tuple(tensors.shape)}, {model.name} takes {expected}; serve the "
            "model that the adapter was trained for",
        )
    if (
        not torch.isfinite(tensors).all()
        or not isinstance(frozen, int)
        or not 0 <= frozen <= len(tensors)
    ):
        raise CartridgeError(
            "CARTRIDGE_DAMAGED",
            f"{folder.name} holds values that are not finite, or freezes rows it does not have; "
            "export it again",
        )
    return BuiltPart(_folded(tensors, geometry).to(model.device, model.dtype), frozen=frozen)


def _flat(prefix: KVPrefix) -> torch.Tensor:
    """[rows, layers * 2 * kv_heads * dim]: for each row and layer the keys, then the values."""
    both = torch.stack([prefix.keys, prefix.values], dim=1)  # [layers, 2, kv_heads, rows, dim]
    return both.permute(3, 0, 1, 2, 4).reshape(prefix.length, -1).contiguous().cpu()


def _folded(rows: torch.Tensor, geometry: Geometry) -> KVPrefix:
    shape = (len(rows), geometry.layers, 2, geometry.kv_heads, geometry.head_dim)
    keys, values = rows.reshape(shape).permute(2, 1, 3, 0, 4).contiguous()
    return KVPrefix(keys, values, len(rows))


def _read_config(folder: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(read_plain(folder / CONFIG))
        kind = config["peft_type"]
    except FileNotPlainError as error:
        raise CartridgeError(error.reason, str(error)) from error
    except OSError as error:
        raise CartridgeError(
            "CARTRIDGE_MISSING", f"{folder.name} has no {CONFIG}; name the folder of a PEFT adapter"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise CartridgeError(
            "CARTRIDGE_DAMAGED", f"{CONFIG} is damaged; export the adapter again"
        ) from error
    if kind != "CARTRIDGE":
        raise CartridgeError(
            "CARTRIDGE_FORMAT", f"{folder.name} is a {kind} adapter; only CARTRIDGE ones are read"
        )
    found: Mapping[str, Any] = config
    return found


def _read_tensors(folder: Path) -> torch.Tensor:
    try:
        with plain_path(folder / TENSORS) as plain:
            return load_file(plain)["prompt_embeddings"]
    except FileNotPlainError as error:
        raise CartridgeError(error.reason, str(error)) from error
    except (OSError, SafetensorError, KeyError) as error:
        raise CartridgeError(
            "CARTRIDGE_DAMAGED",
            f"{TENSORS} is missing or holds no prompt_embeddings; export the adapter again as "
            "safetensors",
        ) from error
