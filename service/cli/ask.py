"""`longmemory ask`: one question, with its answer as it comes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import (
    DEFAULT_SERVER,
    JsonOption,
    ServerOption,
    connected,
    note,
    print_json,
    print_table,
)
from service.client.types import (
    AnswerEvent,
    Decision,
    Delta,
    Evidence,
    Reader,
    Route,
    Summary,
    TextEvent,
)

if TYPE_CHECKING:
    from service.client.query import AskOptions

_ENDS = {
    "length": "the answer was cut at its token limit; give more with --max-tokens",
    "cancelled": "the answer was cut by the time limit; give more with --timeout",
}


def ask(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The corpus.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question.")],
    route: Annotated[
        Route, typer.Option("--route", help="Force how the answer gets its context.")
    ] = Route.AUTO,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which route was taken, why, and on what.")
    ] = False,
    reader: Annotated[
        Reader, typer.Option("--reader", help="How the infini_retri route reads.")
    ] = Reader.DEFAULT,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Most new tokens.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0.0, help="0 always takes the likeliest.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="For repeatable sampling.")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.001, help="Most seconds to wait.")
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Ask a corpus a question."""
    options: AskOptions = {
        "max_output_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
        "reader": reader,
    }
    with connected(server, as_json) as client:
        if as_json:
            answer = client.ask(name, question, route, timeout=timeout, **options)
            terms = {
                "signals": dict(answer.decision.signals),
                "options": [one.as_json() for one in answer.decision.options],
            }
            print_json(answer.as_json() | (terms if explain else {}))
        else:
            events = client.ask_stream(name, question, route, timeout=timeout, **options)
            print_answer(events, explain)


def print_answer(events: Iterable[AnswerEvent | TextEvent], explain: bool) -> None:
    """The text as it comes; with `explain` the decision before it, evidence and cost behind it."""
    evidence: tuple[Evidence, ...] = ()
    for event in events:
        match event:
            case Decision() if explain:
                _print_decision(event)
            case Delta():
                typer.echo(event.text, nl=False)
            case Summary():
                typer.echo()
                if explain:
                    _print_evidence(evidence)
                    _print_usage(event)
                if event.finish in _ENDS:
                    note(_ENDS[event.finish])
            case tuple():
                evidence = event


def _print_decision(decision: Decision) -> None:
    forced = "" if decision.requested == Route.AUTO else " (forced)"
    rows = [
        ("route", decision.route + forced),
        ("reason", decision.reason),
        ("explanation", decision.explanation),
    ]
    if decision.cartridge:
        rows.append(("cartridge", decision.cartridge))
    if decision.runner_up != Route.AUTO:
        rows.append(("runner-up", f"{decision.runner_up}, worth {decision.margin:.2f} less"))
    if decision.id:
        rows.append(("decision", decision.id))
    print_table(("decision", ""), rows)
    if decision.options:
        typer.echo()
        _print_options(decision)
    if decision.signals:
        typer.echo()
        rows = [(key, f"{value:g}") for key, value in sorted(decision.signals.items())]
        print_table(("signal", "value"), rows)
    typer.echo()


def _print_options(decision: Decision) -> None:
    """Every route as a person would compare them: what it promises, what it takes, why it was left."""
    rows = [
        (
            f"> {one.route}" if one.route == decision.route else f"  {one.route}",
            f"{one.quality:.0%}",
            f"{one.expected_seconds:.1f} s",
            f"{one.slow_seconds:.1f} s",
            str(one.prompt_tokens),
            f"{one.utility:.2f}",
            f"{one.closed_reason}: {one.closed_message}" if one.closed_reason else "",
        )
        for one in decision.options
    ]
    print_table(("route", "right", "takes", "at worst", "tokens", "worth", "shut out"), rows)


def _print_evidence(evidence: tuple[Evidence, ...]) -> None:
    if evidence:
        typer.echo()
        rows = [
            (
                f"{one.score:.3f}",
                f"{one.document}:{one.start}-{one.end}",
                " ".join(one.text.split()),
            )
            for one in evidence
        ]
        print_table(("score", "evidence", "text"), rows)


def _print_usage(summary: Summary) -> None:
    usage = summary.usage
    note(
        f"{usage.prompt_tokens} prompt + {usage.prefix_tokens} prefix + {usage.output_tokens} new "
        f"tokens; first after {usage.first_token_seconds:.2f} s, all after "
        f"{usage.total_seconds:.2f} s"
    )
