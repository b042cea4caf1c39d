"""What the commands share of the terminal: options, errors, tables, progress and JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from engine.errors import EngineError, FileNotPlainError
from service.client.progress import job_line, job_state, progress_bar
from service.client.types import ErrorReport, JobSnapshot
from service.errors import ServiceError

if TYPE_CHECKING:
    from service.client.connection import Client

DEFAULT_SERVER = "127.0.0.1:7420"
DEFAULT_DATA = Path("~/.local/share/longmemory")
INTERRUPTED = 130

_FIGURE = re.compile(r"[\d,.]*([%x]| [KMG]?i?B)?|-")
PIPE_COLUMNS = 1000  # a program that reads the table wants each row on one line

ServerOption = Annotated[
    str,
    typer.Option(
        "--server", envvar="LONGMEMORY_SERVER", metavar="HOST:PORT", help="The server to ask."
    ),
]
DataOption = Annotated[
    Path,
    typer.Option("--data", envvar="LONGMEMORY_DATA", metavar="DIR", help="The data folder."),
]
StateOption = Annotated[
    str,
    typer.Option(
        "--state",
        envvar="LONGMEMORY_STATE",
        metavar="URL",
        help="Where records are kept: sqlite (in the data folder), or redis://host:port/0.",
    ),
]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="LONGMEMORY_STORE",
        metavar="URL",
        help="Where files are kept for machines with data folders of their own: s3://bucket/folder, ...",
    ),
]
MetricsOption = Annotated[
    str,
    typer.Option(
        "--metrics",
        envvar="LONGMEMORY_METRICS",
        metavar="HOST:PORT",
        help="The server's Prometheus page; empty: there is none.",
    ),
]
ModelOption = Annotated[
    str, typer.Option("--model", help="A local folder or hub id; empty: the default model.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")]
InstantTokensOption = Annotated[
    int,
    typer.Option(
        "--instant-tokens",
        min=0,
        help="Corpora up to this many tokens get an instant cartridge by themselves; 0: none.",
    ),
]
CondenseOption = Annotated[
    str,
    typer.Option(
        "--condense",
        help="What an overview is told: extracts, or summaries that the model makes when it indexes.",
    ),
]
RehearseOption = Annotated[
    int,
    typer.Option(
        "--rehearse",
        min=0,
        max=64,
        help="Questions that a corpus is asked of itself once indexed, to weigh its routes; 0: none.",
    ),
]
LogFormatOption = Annotated[str, typer.Option("--log-format", help="console or json.")]
LogLevelOption = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@contextmanager
def connected(server: str, as_json: bool) -> Iterator[Client]:
    """A client of the server; inside, what goes wrong becomes a message and exit code 1."""
    from service.cli.credentials import credentials_given
    from service.client.connection import Client, ClientError

    with errors_told(as_json):
        try:
            with Client(server, credentials_given()) as client:
                yield client
        except ClientError as error:
            stop(error.report, as_json)


@contextmanager
def errors_told(as_json: bool) -> Iterator[None]:
    """Inside, errors of files and values, of the service and of a model become a message and exit
    code 1.
    """
    try:
        yield
    except ServiceError as error:
        stop(ErrorReport(error.code, error.reason, error.message), as_json)
    except FileNotPlainError as error:
        stop(ErrorReport("FAILED_PRECONDITION", error.reason, str(error)), as_json)
    except EngineError as error:
        stop(ErrorReport("FAILED_PRECONDITION", "MODEL_UNUSABLE", str(error)), as_json)
    except OSError as error:
        stop(ErrorReport("UNKNOWN", "FILE_ERROR", _os_message(error)), as_json)
    except ValueError as error:
        stop(ErrorReport("INVALID_ARGUMENT", "INVALID_VALUE", str(error)), as_json)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def stop(error: ErrorReport, as_json: bool) -> NoReturn:
    """Tell an error, as JSON on stdout too where that was asked for, and exit with code 1."""
    if as_json:
        print_json({"error": error.as_json()})
    typer.secho(f"error: {error.message}", err=True, fg=typer.colors.RED)
    if error.reason and error.reason not in ("UNKNOWN", error.code):
        typer.secho(f"reason: {error.reason}", err=True, dim=True)
    raise typer.Exit(1)


def missing_package(error: ImportError) -> typer.Exit:
    """What a command raises whose libraries are not there."""
    message = f"the package {error.name} cannot be imported ({error}); run `longmemory doctor`"
    typer.secho(f"error: {message}", err=True, fg=typer.colors.RED)
    return typer.Exit(1)


def note(text: str) -> None:
    """A word for people beside the output, on stderr."""
    typer.secho(text, err=True, dim=True)


def print_json(value: object) -> None:
    """One JSON document as one line on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; columns that hold figures are set to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        is_figures = bool(rows) and all(_is_figure(row[index]) for row in rows)
        table.add_column(
            column,
            justify="right" if is_figures else "left",
            overflow="fold",
            no_wrap=index == 0,  # names are there to be copied
        )
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)


def count(number: float) -> str:
    """A count with thousands apart."""
    return f"{number:,.0f}"


def size(num_bytes: float) -> str:
    """Bytes in the unit that people read."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def follow(client: Client, job: str, as_json: bool = False, lines: bool = False) -> JobSnapshot:
    """A job to its end: a bar for people, or with `lines` one JSON line for each change.

    Stops with the job's own error when it failed; on Ctrl-C the job goes on without us.
    """
    last: JobSnapshot | None = None
    try:
        with progress_bar(hidden=as_json) as bar:
            task = bar.add_task("waiting", total=1.0, line="")
            for last in client.watch(job):
                text = f"{last.kind} {job_state(last)}"
                bar.update(task, completed=last.progress, description=text, line=job_line(last))
                if lines:
                    print_json(last.as_json())
    except KeyboardInterrupt:
        note(f"still running on the server; see `longmemory jobs watch {short_name(job)}`")
        raise typer.Exit(INTERRUPTED) from None
    if last is None:
        raise ValueError(f"the server has no events of {job}; see `longmemory jobs ls`")
    if last.error:
        stop(last.error, as_json and not lines)
    return last


def short_name(name: str) -> str:
    """The last part of a resource name."""
    return name.rpartition("/")[2]


def _is_figure(cell: object) -> bool:
    return _FIGURE.fullmatch(str(cell)) is not None


def _os_message(error: OSError) -> str:
    if error.filename and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}; check the path and its permissions"
    return str(error)
