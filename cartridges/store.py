"""Cartridges on disk: one folder each, whole or absent, checked when read."""

import glob
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from cartridges.conversations import Studied, read_studied, write_studied
from cartridges.int8 import load_int8, save_int8
from cartridges.manifest import FORMAT, INT8, CartridgeError, Manifest, Part
from engine.errors import FileNotPlainError, PrefixMismatchError
from engine.fail_point import fail_point
from engine.model import LanguageModel
from engine.plain_file import open_plain, read_plain
from engine.plain_folder import REPLACED, STAGING, delete_tree, staged_folder
from engine.prefix import KVPrefix, load_prefix, save_prefix

MANIFEST = "manifest.json"


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
    root: Path | None = None,
    within: Path | None = None,
) -> Manifest:
    """Writes a cartridge in the folder `within`, or beside its place where none is given, forces it to
    the disk, then renames it in.

    A folder that already stands at the place is replaced: see `check_place` where others name it.

    Raises:
        CartridgeError: FILE_NOT_PLAIN where a folder on the way from `root` is a link.
    """
    geometry = model.geometry
    with (
        _links_refused(),
        staged_folder(folder, root, point="cartridge", within=within) as staging,
    ):
        parts_written = tuple(
            _write_part(part, i, staging, in_int8) for i, part in enumerate(parts)
        )
        fail_point("cartridge.written")
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
            parts=parts_written,
            recipe=dict(recipe),
            metrics=dict(metrics),
        )
        (staging / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        fail_point("cartridge.described")
    for left in _left_beside(folder):  # of processes that were killed as they stored it
        delete_tree(left, root)
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


def load_cartridge(
    folder: Path, model: LanguageModel, number: int = 0, root: Path | None = None
) -> Cartridge:
    """A cartridge with one of its parts, on the model's device and in its precision.

    Its files are opened without following links below `root`, or in the folder where none is given.

    Raises:
        CartridgeError: CARTRIDGE_MISSING, CARTRIDGE_DAMAGED, CARTRIDGE_FORMAT, FILE_NOT_PLAIN or
            CARTRIDGE_MODEL_MISMATCH; a cartridge that is nearly right is refused too.
    """
    manifest = read_manifest(folder, root)
    manifest.check_model(model)
    prefix = read_part(folder, manifest, number, root).to(model.device, model.dtype)
    return Cartridge(prefix, manifest, number)


def read_part(folder: Path, manifest: Manifest, number: int, root: Path | None = None) -> KVPrefix:
    """One checked prefix as it is stored; needs no model.

    Raises:
        CartridgeError: CARTRIDGE_MISSING where there is no such part, CARTRIDGE_DAMAGED or
            FILE_NOT_PLAIN.
    """
    if not 0 <= number < len(manifest.parts):
        raise CartridgeError(
            "CARTRIDGE_MISSING",
            f"there is no part {number}; the cartridge has {len(manifest.parts)}, counted from 0",
        )
    part = manifest.parts[number]
    load = load_int8 if manifest.dtype == INT8 else load_prefix
    try:
        with _links_refused():
            prefix = load(_checked(folder, part.file, part.sha256, root), root)
    except PrefixMismatchError as error:
        raise CartridgeError("CARTRIDGE_DAMAGED", str(error)) from error
    except SafetensorError as error:
        raise CartridgeError(
            "CARTRIDGE_DAMAGED", f"{part.file} is no safetensors file; train the cartridge again"
        ) from error
    part.check_prefix(prefix, manifest.shape)
    return prefix


def load_studied(
    folder: Path, manifest: Manifest, number: int, root: Path | None = None
) -> list[Studied]:
    """The conversations of one part; none where it keeps none. Raises as `read_part` does."""
    part = manifest.parts[number]
    if not part.studied:
        return []
    with _links_refused():
        return read_studied(_checked(folder, part.studied, part.studied_sha256, root), root)


def _checked(folder: Path, name: str, sha256: str, root: Path | None) -> Path:
    path = folder / name
    with suppress(FileNotFoundError):
        if Path(name).name == name and digest_of(path, root) == sha256:
            return path
    raise CartridgeError(
        "CARTRIDGE_DAMAGED", f"{name} does not match its digest; train the cartridge again"
    )


def read_manifest(folder: Path, root: Path | None = None) -> Manifest:
    """The manifest alone; needs no model.

    Raises:
        CartridgeError: CARTRIDGE_MISSING, CARTRIDGE_FORMAT, CARTRIDGE_DAMAGED or FILE_NOT_PLAIN.
    """
    try:
        with _links_refused():
            said = read_plain(folder / MANIFEST, root)
    except (FileNotFoundError, NotADirectoryError):
        aside = [left.name for left in _left_beside(folder) if left.name.endswith(REPLACED)]
        mend = f"rename {aside[0]} to it, which it was replaced from" if aside else "train it again"
        raise CartridgeError(
            "CARTRIDGE_MISSING", f"no cartridge lies at {folder.name}; {mend}"
        ) from None
    return Manifest.from_json(said)


def digest_of(path: Path, root: Path | None = None) -> str:
    """SHA-256 of a file in hex. Raises FileNotPlainError, OSError."""
    with open_plain(path, root) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _links_refused() -> Iterator[None]:
    try:
        yield
    except FileNotPlainError as error:
        raise CartridgeError(error.reason, str(error)) from error


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
    return sorted(folder.parent.glob(f".{glob.escape(folder.name)}{STAGING}-*"))
