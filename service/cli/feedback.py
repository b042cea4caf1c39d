"""`longmemory feedback`: what a person says of an answer, which the router learns from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from service.cli.output import (
    DEFAULT_SERVER,
    JsonOption,
    ServerOption,
    connected,
    note,
    print_json,
)


class Verdict(StrEnum):
    """Whether an answer was right."""

    good = "good"
    bad = "bad"


def feedback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The corpus that was asked.")],
    decision: Annotated[
        str,
        typer.Argument(metavar="DECISION", help="The answer's decision_id, of `ask --json`."),
    ],
    verdict: Annotated[Verdict, typer.Argument(metavar="good|bad", help="Was it right?")],
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Say whether an answer was right; the router learns from it."""
    with connected(server, as_json) as client:
        good, bad = client.judge(name, decision, verdict is Verdict.good)
    if as_json:
        print_json({"good": good, "bad": bad})
    else:
        note(f"noted; of this kind of question by this route {good} are good and {bad} are bad")
