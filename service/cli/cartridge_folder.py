"""`longmemory cartridge inspect | export | import`: cartridges as folders, with no server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import (
    DEFAULT_DATA,
    DataOption,
    JsonOption,
    count,
    errors_told,
    note,
    print_json,
    print_table,
    size,
    stop,
)
from service.client.types import ErrorReport

if TYPE_CHECKING:
    from cartridges.manifest import Manifest, Part
    from engine.model import LanguageModel

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A cartridge's folder, with its manifest.json.")
]
Number = Annotated[int, typer.Option("--part", min=0, help="Which of its parts.")]
Model = Annotated[str, typer.Option("--model", help="A folder, a hub id, or the default model.")]


def inspect(folder: Folder, as_json: JsonOption = False) -> None:
    """Show what a cartridge says of itself and check its tensors; needs no model."""
    from dataclasses import asdict

    from cartridges.manifest import CartridgeError
    from cartridges.store import load_studied, read_manifest, read_part

    with _refusals_told(as_json):
        folder = folder.parent if folder.name == "manifest.json" else folder
        manifest = read_manifest(folder)
    problems: dict[str, str] = {}
    for number, part in enumerate(manifest.parts):
        try:
            read_part(folder, manifest, number)
            load_studied(folder, manifest, number)
        except CartridgeError as error:
            problems[part.file] = str(error)
    if as_json:
        print_json(asdict(manifest) | {"problems": problems})
    else:
        _show(folder, manifest, problems)
    if problems:
        raise typer.Exit(1)


def export(
    folder: Folder,
    target: Annotated[Path, typer.Argument(metavar="ADAPTER", help="The folder to write.")],
    number: Number = 0,
    model: Model = "",
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Write a cartridge as an adapter that PEFT loads."""
    with _refusals_told(as_json):
        from cartridges.peft_adapter import export_adapter
        from cartridges.store import BuiltPart, load_cartridge, read_manifest

        manifest = read_manifest(folder)
        if number >= len(manifest.parts):
            raise ValueError(f"part: {folder.name} has {len(manifest.parts)} parts, from 0 on")
        loaded = _load_model(model, data)
        prefix = load_cartridge(folder, loaded, number).prefix
        export_adapter(target, loaded, BuiltPart(prefix, frozen=manifest.parts[number].frozen))
    _tell_written(target, as_json)


def import_(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="A PEFT adapter's folder.")],
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="The cartridge to write.")],
    model: Model = "",
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Make a cartridge of a PEFT adapter. It names no corpus, for an adapter does not."""
    with _refusals_told(as_json):
        from cartridges.peft_adapter import import_adapter
        from cartridges.store import check_place, store_cartridge

        check_place(target)
        loaded = _load_model(model, data)
        part = import_adapter(adapter, loaded)
        store_cartridge(target, loaded, [part], "", {"imported": "peft"}, {})
    _tell_written(target, as_json)


def _load_model(name: str, data: Path) -> LanguageModel:
    from engine.config import DEFAULT_MODEL, EngineConfig
    from engine.model import LanguageModel

    return LanguageModel.load(EngineConfig(data.expanduser(), name or DEFAULT_MODEL))


@contextmanager
def _refusals_told(as_json: bool) -> Iterator[None]:
    """Inside, a cartridge or a model that does not fit becomes a message and exit code 1."""
    from cartridges.manifest import CartridgeError

    with errors_told(as_json):
        try:
            yield
        except CartridgeError as error:
            stop(ErrorReport("FAILED_PRECONDITION", error.reason, str(error)), as_json)


def _tell_written(target: Path, as_json: bool) -> None:
    if as_json:
        print_json({"written": str(target)})
    else:
        note(f"written: {target}")


def _show(folder: Path, manifest: Manifest, problems: Mapping[str, str]) -> None:
    used = sum(path.lstat().st_size for path in folder.iterdir())
    layers, kv_heads, dim = manifest.shape
    rows = [
        ("model", manifest.model_fingerprint),
        ("tokenizer", manifest.tokenizer_digest),
        ("positions", " ".join(f"{k}={v}" for k, v in sorted(manifest.rope.items()))),
        ("shape", f"{layers} layers, {kv_heads} KV heads of {dim}, {manifest.dtype}"),
        ("corpus", manifest.corpus_digest or "none is named"),
        ("size", size(used)),
        *((f"recipe.{key}", value) for key, value in _flat(manifest.recipe)),
        *((f"measured.{key}", f"{value:g}") for key, value in sorted(manifest.metrics.items())),
    ]
    print_table(("cartridge", folder.name), rows)
    typer.echo()
    print_table(
        ("part", "tokens", "stands for", "smaller by", "frozen", "windows", "recovered", "tensors"),
        [_part_row(part, part.file in problems) for part in manifest.parts],
    )
    for problem in problems.values():
        typer.secho(f"error: {problem}", err=True, fg=typer.colors.RED)


def _part_row(part: Part, is_damaged: bool) -> tuple[str, ...]:
    recovered = part.metrics.get("recovered")
    return (
        part.file.removesuffix(".safetensors"),
        count(part.prefix_tokens),
        count(part.query_offset),
        f"{part.query_offset / part.prefix_tokens:.1f}x",
        count(part.frozen),
        count(len(part.windows)),
        "-" if recovered is None else f"{recovered:.0%}",
        "damaged" if is_damaged else "whole",
    )


def _flat(tree: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested settings, each with its path."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
