"""Cartridges on disk: one folder each, whole or absent, checked when read."""

import glob
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from cartridges.conversations import Studied, read_studied, write_studied
from cartridges.int8 import load_int8, save_int8
from cartridges.manifest import FORMAT, INT8, CartridgeError, Manifest, Part
from engine.errors import PrefixMismatchError
from engine.fail_point import fail_point
from engine.model import LanguageModel
from engine.prefix import KVPrefix, load_prefix, save_prefix

MANIFEST = "manifest.json"
_REPLACED = "-replaced"  # a cartridge that makes room for another


@dataclass(frozen=True, slots=True, eq=False)
class Cartridge:
    """A trained prefix with its manifest, and which part of the cartridge it is."""

    prefix: KVPrefix
    manifest: Manifest
    number: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class BuiltPart:
    """A prefix as it was built, before it has a place on the disk."""

    prefix: KVPrefix
    windows: tuple[str, ...] = ()
    frozen: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    studied: tuple[Studied, ...] = ()


def store_cartridge(
    folder: Path,
    model: LanguageModel,
    parts: Sequence[BuiltPart],
    corpus_digest: str,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, float],
    in_int8: bool = False,
) -> Manifest:
    """Writes a cartridge beside its place, forces it to the disk, then renames it in.

    A folder that already stands at the place is replaced: see `check_place` where others name it.
    """
    staging = folder.with_name(f".{folder.name}.staging-{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    geometry = model.geometry
    manifest = Manifest(
        format=FORMAT,
        model_fingerprint=model.fingerprint,
        tokenizer_digest=model.tokenizer_digest,
        rope=model.rope,
        layers=geometry.layers,
        kv_heads=geometry.kv_heads,
        head_dim=geometry.head_dim,
        dtype=INT8 if in_int8 else str(parts[0].prefix.keys.dtype).removeprefix("torch."),
        corpus_digest=corpus_digest,
        parts=tuple(_write_part(part, i, staging, in_int8) for i, part in enumerate(parts)),
        recipe=dict(recipe),
        metrics=dict(metrics),
    )
    fail_point("cartridge.written")
    (staging / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    fail_point("cartridge.described")
    for path in (*staging.iterdir(), staging):
        force(path)
    fail_point("cartridge.forced")
    replaced = staging.with_name(staging.name + _REPLACED)
    if folder.exists():
        folder.rename(replaced)  # a folder cannot be renamed onto one that holds files
        fail_point("cartridge.moved_aside")
    staging.rename(folder)
    fail_point("cartridge.renamed")
    force(folder.parent)
    fail_point("cartridge.stored")
    for left in _left_beside(folder):  # what was replaced, and what killed processes left
        shutil.rmtree(left, ignore_errors=True)
    return manifest


def check_place(folder: Path) -> None:
    """Refuses a place that a cartridge must not replace.

    Raises:
        CartridgeError: CARTRIDGE_PLACE_TAKEN where it holds files that are no cartridge's.
    """
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not is_empty and not (folder / MANIFEST).exists():
        raise CartridgeError(
            "CARTRIDGE_PLACE_TAKEN",
            f"{folder.name} holds something else than a cartridge; name a folder that does not exist",
        )


def load_cartridge(folder: Path, model: LanguageModel, number: int = 0) -> Cartridge:
    """A cartridge with one of its parts, on the model's device and in its precision.

    Raises:
        CartridgeError: CARTRIDGE_MISSING, CARTRIDGE_DAMAGED, CARTRIDGE_FORMAT or
            CARTRIDGE_MODEL_MISMATCH; a cartridge that is nearly right is refused too.
    """
    manifest = read_manifest(folder)
    manifest.check_model(model)
    prefix = read_part(folder, manifest, number).to(model.device, model.dtype)
    return Cartridge(prefix, manifest, number)


def read_part(folder: Path, manifest: Manifest, number: int) -> KVPrefix:
    """One checked prefix as it is stored; needs no model.

    Raises:
        CartridgeError: CARTRIDGE_MISSING where there is no such part, or CARTRIDGE_DAMAGED.
    """
    if not 0 <= number < len(manifest.parts):
        raise CartridgeError(
            "CARTRIDGE_MISSING",
            f"there is no part {number}; the cartridge has {len(manifest.parts)}, counted from 0",
        )
    part = manifest.parts[number]
    path = _checked(folder, part.file, part.sha256)
    try:
        prefix = load_int8(path) if manifest.dtype == INT8 else load_prefix(path)
    except PrefixMismatchError as error:
        raise CartridgeError("CARTRIDGE_DAMAGED", str(error)) from error
    except SafetensorError as error:
        raise CartridgeError(
            "CARTRIDGE_DAMAGED", f"{part.file} is no safetensors file; train the cartridge again"
        ) from error
    part.check_prefix(prefix, manifest.shape)
    return prefix


def load_studied(folder: Path, manifest: Manifest, number: int) -> list[Studied]:
    """The conversations of one part; none where it keeps none. Raises as `read_part` does."""
    part = manifest.parts[number]
    if not part.studied:
        return []
    return read_studied(_checked(folder, part.studied, part.studied_sha256))


def _checked(folder: Path, name: str, sha256: str) -> Path:
    path = folder / name
    if Path(name).name != name or not path.is_file() or digest_of(path) != sha256:
        raise CartridgeError(
            "CARTRIDGE_DAMAGED", f"{name} does not match its digest; train the cartridge again"
        )
    return path


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone; needs no model.

    Raises:
        CartridgeError: CARTRIDGE_MISSING, CARTRIDGE_FORMAT or CARTRIDGE_DAMAGED.
    """
    path = folder / MANIFEST
    if not path.exists():
        aside = [left.name for left in _left_beside(folder) if left.name.endswith(_REPLACED)]
        mend = f"rename {aside[0]} to it, which it was replaced from" if aside else "train it again"
        raise CartridgeError("CARTRIDGE_MISSING", f"no cartridge lies at {folder.name}; {mend}")
    return Manifest.from_json(path.read_bytes())


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_part(part: BuiltPart, number: int, folder: Path, in_int8: bool) -> Part:
    path = folder / f"part-{number:03d}.safetensors"
    write = save_int8 if in_int8 else save_prefix
    write(part.prefix, path)
    studied = path.with_suffix(".jsonl")
    if part.studied:
        write_studied(studied, part.studied)
    return Part(
        file=path.name,
        sha256=digest_of(path),
        prefix_tokens=part.prefix.length,
        query_offset=part.prefix.query_offset,
        frozen=part.frozen,
        windows=tuple(part.windows),
        metrics=dict(part.metrics),
        curves=dict(part.curves),
        studied=studied.name if part.studied else "",
        studied_sha256=digest_of(studied) if part.studied else "",
    )


def _left_beside(folder: Path) -> list[Path]:
    """What lies beside a cartridge's place and was on its way in or out."""
    return sorted(folder.parent.glob(f".{glob.escape(folder.name)}.staging-*"))


def force(path: Path) -> None:
    """Makes the kernel write a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
