"""`longmemory evaluate`: needles, threads, RULER and question sets, asked of a running server."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.evaluate_router import router
from service.cli.output import (
    DEFAULT_SERVER,
    JsonOption,
    ServerOption,
    connected,
    print_json,
    stop,
)
from service.client.types import WISHES, ErrorReport, Route

if TYPE_CHECKING:
    from evaluation.runs import Run
    from evaluation.scenes import Suite
    from evaluation.summary import Summary
    from service.client.connection import Client

app = typer.Typer(help="Ask a server questions whose answers are known.", no_args_is_help=True)

OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Where results go; a second run goes on there.")
]
RoutesOption = Annotated[
    str, typer.Option("--routes", metavar="R,R", help="Routes to ask by, with commas between.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Other seeds make other questions.")]
HaystackOption = Annotated[
    str,
    typer.Option(
        "--haystack", metavar="SOURCE", help="essays, stdlib, essays+stdlib, or a folder."
    ),
]
DEFAULT_ROUTES = "infini_retri,crag"


app.command("router")(router)


@app.command("needle")
def needle(
    out: OutOption,
    lengths: Annotated[
        str, typer.Option("--lengths", help="As 4k,32k,1m in tokens, or 200kc in characters.")
    ] = "4k,32k",
    depths: Annotated[int, typer.Option("--depths", min=1, help="Places from start to end.")] = 10,
    routes: RoutesOption = DEFAULT_ROUTES,
    needles: Annotated[
        Path | None, typer.Option("--needles", metavar="FILE", help="Your own, one JSON a line.")
    ] = None,
    haystack: HaystackOption = "auto",
    kinds: Annotated[
        str, typer.Option("--kinds", help="fact, number, moment, several, lookalike; all if empty.")
    ] = "",
    seed: SeedOption = 0,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Facts planted at every depth of texts of every length."""

    def make(client: Client) -> Suite:
        from evaluation.needle_suite import NeedleGrid
        from evaluation.needles import KINDS, read_needles
        from evaluation.runs import measured_length

        made = [
            measured_length(client.count_tokens, label, haystack) for label in lengths.split(",")
        ]
        own = tuple(read_needles(needles)) if needles else ()
        chosen = tuple(kinds.split(",")) if kinds else KINDS
        return NeedleGrid(tuple(made), depths, seed, haystack, chosen, own)

    _run(make, routes, out, "Needles in a haystack", server, as_json)


@app.command("threads")
def threads(
    out: OutOption,
    pairs: Annotated[int, typer.Option("--pairs", min=115, help="Pairs of a map.")] = 400,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Maps.")] = 3,
    routes: RoutesOption = DEFAULT_ROUTES,
    seed: SeedOption = 0,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Threads through maps of keys to values (Needle Threading, ICLR 2025)."""

    def make(client: Client) -> Suite:
        from evaluation.threads import ThreadsSuite

        return ThreadsSuite(seed=seed, pairs=pairs, samples=samples)

    _run(make, routes, out, "Needle threading", server, as_json)


@app.command("ruler")
def ruler(
    out: OutOption,
    length: Annotated[str, typer.Option("--length", help="As 4k or 32k tokens.")] = "4k",
    samples: Annotated[int, typer.Option("--samples", min=1, help="Texts a task.")] = 5,
    routes: RoutesOption = DEFAULT_ROUTES,
    haystack: HaystackOption = "auto",
    seed: SeedOption = 0,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """RULER's retrieval tasks, made anew from a seed."""

    def make(client: Client) -> Suite:
        from evaluation.ruler import RulerSuite
        from evaluation.runs import measured_length

        measured = measured_length(client.count_tokens, length, haystack)
        return RulerSuite(seed, measured.characters, measured.label, samples, haystack)

    _run(make, routes, out, "RULER retrieval tasks", server, as_json)


@app.command("qa")
def qa(
    questions: Annotated[
        Path, typer.Argument(metavar="FILE", help="question, answers, title, passage a line.")
    ],
    out: OutOption,
    most: Annotated[
        int | None, typer.Option("--most", min=1, help="Ask only so many; all passages stay.")
    ] = None,
    routes: RoutesOption = DEFAULT_ROUTES,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Questions with gold passages: all passages are one corpus."""

    def make(client: Client) -> Suite:
        from evaluation.qa import QaSuite

        return QaSuite(questions, most)

    _run(make, routes, out, "Questions with gold passages", server, as_json)


def _run(
    make: Callable[[Client], Suite],
    routes: str,
    out: Path,
    title: str,
    server: str,
    as_json: bool,
) -> None:
    from evaluation.haystack_texts import HaystackError
    from evaluation.heat_map import MissingExtraError, require_matplotlib
    from evaluation.runs import Run

    chosen = _routes(routes, as_json)
    began = time.monotonic()
    with connected(server, as_json) as client:
        try:
            require_matplotlib()
            suite = make(client)
            run = Run(client, suite, chosen, out)
            _follow(run, as_json)
            summary = _conclude(client, suite, run, out, title, time.monotonic() - began)
        except (HaystackError, MissingExtraError) as error:
            stop(ErrorReport("FAILED_PRECONDITION", "MISSING_SOURCE", str(error)), as_json)
        except ValueError as error:
            stop(ErrorReport("INVALID_ARGUMENT", "INVALID_VALUE", str(error)), as_json)
    _show(summary, out, as_json)


def _routes(names: str, as_json: bool) -> list[Route]:
    chosen = [name.strip() for name in names.split(",")]
    unknown = [name for name in chosen if name not in WISHES]
    if unknown:
        wrong = f"--routes: {unknown[0]!r} is no route; use {', '.join(Route)}"
        stop(ErrorReport("INVALID_ARGUMENT", "INVALID_VALUE", wrong), as_json)
    return [Route(name) for name in chosen]


def _follow(run: Run, as_json: bool) -> None:
    from rich.console import Console
    from rich.progress import (
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from evaluation.runs import Progress as Step

    columns = (SpinnerColumn(), TextColumn("{task.completed} cells, {task.description}"))
    bar = Progress(
        *columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True, disable=as_json
    )
    with bar:
        task = bar.add_task("", total=None)

        def say(step: Step) -> None:
            bar.update(task, completed=step.done, description=step.doing)

        run.go(say)


def _conclude(
    client: Client, suite: Suite, run: Run, out: Path, title: str, seconds: float
) -> Summary:
    from evaluation.report import RunInfo, write_report
    from evaluation.runs import command_line, today
    from evaluation.summary import summarise

    info = client.info()
    served = {
        "model": info.model_name,
        "device": f"{info.device}, {info.dtype}",
        "version": info.version,
    }
    rows, description = run.rows.read(), suite.description
    ranked = any(row.rank is not None for row in rows)
    summary = summarise(rows, suite.grouped_by, ranked, description, served)
    about = RunInfo(
        suite.name, title, command_line(sys.argv[1:]), served, description, seconds, today()
    )
    text = json.dumps(summary.as_json() | {"command": about.command}, indent=1)
    (out / "summary.json").write_text(text + "\n", encoding="utf-8")
    write_report(out, about, summary, rows)
    return summary


def _show(summary: Summary, out: Path, as_json: bool) -> None:
    if as_json:
        print_json(summary.as_json())
        return
    from rich.console import Console

    from evaluation.summary_table import print_summary

    print_summary(Console(), summary)
    typer.echo(f"report: {out / 'report.html'}")
