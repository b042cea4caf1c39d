"""`longmemory read`: a question to a file or to standard input, of any length, that is not kept."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.ask import print_answer
from service.cli.output import (
    DEFAULT_SERVER,
    JsonOption,
    ServerOption,
    connected,
    print_json,
)
from service.client.types import Delta, ReadSoFar, Summary, TextEvent

if TYPE_CHECKING:
    from rich.progress import Progress

    from service.client.query import AskOptions

PIECE = 65_536  # characters sent at once


def read(
    path: Annotated[
        str, typer.Argument(metavar="FILE", help="A text file, or - for standard input.")
    ],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the evidence and what it cost.")
    ] = False,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Most new tokens.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.001, help="Most seconds to wait.")
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Ask a text that is not registered: it is read once, as it comes, and nothing of it is kept."""
    options: AskOptions = {"max_output_tokens": max_tokens}
    with connected(server, as_json) as client:
        events = client.ask_text(pieces(path), question, timeout=timeout, **options)
        with _spinner(as_json) as spinner:
            task = spinner.add_task("reading", total=None)
            rest = _past_reading(events, lambda line: spinner.update(task, description=line))
        if as_json:
            print_json(as_one(rest))
        else:
            print_answer(rest, explain)


def pieces(path: str) -> Iterator[str]:
    """A file's text, or standard input's, a piece at a time. Raises OSError, and ValueError where it
    is no UTF-8.
    """
    if path == "-":
        yield from iter(lambda: sys.stdin.read(PIECE), "")
        return
    with Path(path).open(encoding="utf-8") as file:
        yield from iter(lambda: file.read(PIECE), "")


def as_one(events: Iterable[TextEvent]) -> dict[str, Any]:
    """The events of an answer as one JSON object."""
    texts: list[str] = []
    made: dict[str, Any] = {"answer": "", "evidence": []}
    for event in events:
        match event:
            case Delta():
                texts.append(event.text)
            case Summary():
                made |= event.as_json()
            case tuple():
                made["evidence"] = [piece.as_json() for piece in event]
    return made | {"answer": "".join(texts)}


def _spinner(hidden: bool) -> Progress:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden)


def _past_reading(events: Iterator[TextEvent], say: Any) -> Iterator[TextEvent]:
    """The events from the evidence on; `say` hears how far the reading is before that."""
    for event in events:
        if not isinstance(event, ReadSoFar):
            return _with_first(event, events)
        say(f"read {event.tokens:,} tokens, {event.sentences:,} sentences")
    return iter(())


def _with_first(first: TextEvent, rest: Iterator[TextEvent]) -> Iterator[TextEvent]:
    yield first
    yield from rest
