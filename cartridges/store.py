"""Cartridges on disk: one folder each, whole or absent, checked when read."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from cartridges.manifest import FORMAT, CartridgeError, Manifest
from engine.errors import PrefixMismatchError
from engine.model import LanguageModel
from engine.prefix import KVPrefix, load_prefix, save_prefix

TENSORS = "prefix.safetensors"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, eq=False)
class Cartridge:
    """A trained prefix with its manifest."""

    prefix: KVPrefix
    manifest: Manifest


def store_cartridge(
    folder: Path,
    model: LanguageModel,
    prefix: KVPrefix,
    corpus_digest: str,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> Manifest:
    """Writes a cartridge beside its place, forces it to the disk, then renames it in.

    A folder that already stands at the place is replaced.
    """
    staging = folder.with_name(f".{folder.name}.staging-{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    manifest = Manifest(
        format=FORMAT,
        model_fingerprint=model.fingerprint,
        corpus_digest=corpus_digest,
        layers=model.geometry.layers,
        kv_heads=model.geometry.kv_heads,
        head_dim=model.geometry.head_dim,
        prefix_tokens=prefix.length,
        query_offset=prefix.query_offset,
        dtype=str(prefix.keys.dtype).removeprefix("torch."),
        tensor_digest=save_prefix(prefix, staging / TENSORS),
        recipe=dict(recipe),
        metrics=dict(metrics),
    )
    (staging / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    for path in (staging / TENSORS, staging / MANIFEST, staging):
        _force(path)
    replaced = staging.with_name(f"{staging.name}-replaced")
    if folder.exists():
        folder.rename(replaced)  # a folder cannot be renamed onto one that holds files
    staging.rename(folder)
    _force(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    return manifest


def load_cartridge(folder: Path, model: LanguageModel) -> Cartridge:
    """Reads a cartridge for this model.

    Raises:
        CartridgeError: CARTRIDGE_MISSING, CARTRIDGE_DAMAGED, CARTRIDGE_FORMAT or
            CARTRIDGE_MODEL_MISMATCH; a cartridge that is nearly right is refused too.
    """
    manifest = read_manifest(folder)
    manifest.check_model(model)
    path = folder / TENSORS
    if not path.exists() or _digest(path) != manifest.tensor_digest:
        raise CartridgeError(
            "CARTRIDGE_DAMAGED", f"{TENSORS} does not match its digest; train the cartridge again"
        )
    try:
        prefix = load_prefix(path)
    except PrefixMismatchError as error:
        raise CartridgeError("CARTRIDGE_DAMAGED", str(error)) from error
    except SafetensorError as error:
        raise CartridgeError(
            "CARTRIDGE_DAMAGED", f"{TENSORS} is no safetensors file; train the cartridge again"
        ) from error
    manifest.check_prefix(prefix, model.geometry)
    return Cartridge(prefix.to(model.device, model.dtype), manifest)


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone; needs no model."""
    path = folder / MANIFEST
    if not path.exists():
        raise CartridgeError(
            "CARTRIDGE_MISSING", f"no cartridge lies at {folder.name}; train it again"
        )
    return Manifest.from_json(path.read_bytes())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _force(path: Path) -> None:
    """Makes the kernel write a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
