"""The demo's rows and how they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.questions import KnownQuestion
from service.client.types import Answer, Route

SHOWN = 90  # characters of an answer in the table; the JSON has all of it


@dataclass(frozen=True, slots=True)
class Row:
    """One question by one route."""

    corpus: str
    question: KnownQuestion
    asked: Route
    answer: Answer

    @property
    def is_right(self) -> bool:
        return self.question.is_right(self.answer.answer)

    @property
    def is_found(self) -> bool:
        return self.question.is_found([piece.text for piece in self.answer.evidence])

    def as_json(self) -> dict[str, object]:
        own: dict[str, object] = {
            "corpus": self.corpus,
            "question": self.question.question,
            "asked": self.asked.value,
            "right": self.is_right,
            "evidence_found": self.is_found,
        }
        return own | self.answer.as_json()


def print_rows(console: Console, rows: Sequence[Row]) -> None:
    """One table: each question with what it expects, below it one line a route, and why `auto` chose."""
    table = Table(title="every question by every route", pad_edge=False, box=SIMPLE_HEAD)
    for name in ("asked", "route taken", "right"):
        table.add_column(name, no_wrap=True)
    table.add_column("answer", ratio=1, overflow="fold")
    table.add_column("evidence", overflow="fold", max_width=30)
    for name in ("prompt tok", "prefix tok", "first s", "total s"):
        table.add_column(name, justify="right", max_width=6)
    previous = ""
    for row in rows:
        if row.question.question != previous:
            previous = row.question.question
            table.add_section()
            expected = " / ".join(row.question.answers[:2])
            table.add_row("", "", "", f"[bold]{escape(previous)}[/] [dim]({escape(expected)})[/]")
        _add_row(table, row)
    console.print(table)


def _add_row(table: Table, row: Row) -> None:
    decision, usage = row.answer.decision, row.answer.usage
    said = " ".join(row.answer.answer.split())
    why = f"\n[dim]why: {escape(_why(row))}[/]" if row.asked is Route.AUTO else ""
    table.add_row(
        row.asked.value,
        decision.route,
        "[green]yes[/]" if row.is_right else "[red]no[/]",
        escape(said if len(said) <= SHOWN else said[:SHOWN] + "…") + why,
        _where(row),
        str(usage.prompt_tokens),
        str(usage.prefix_tokens),
        f"{usage.first_token_seconds:.2f}",
        f"{usage.total_seconds:.2f}",
    )


def print_summary(console: Console, rows: Sequence[Row]) -> None:
    """What each route got right, and at what cost."""
    table = Table(title="by route", pad_edge=False, box=SIMPLE_HEAD)
    for name in ("asked", "right", "evidence found", "prompt tokens", "first s", "total s"):
        table.add_column(name, justify="left" if name == "asked" else "right")
    for route in Route:
        own = [row for row in rows if row.asked is route]
        if not own:
            continue
        shown = [row for row in own if row.answer.evidence]
        found = f"{sum(row.is_found for row in shown)}/{len(shown)}" if shown else "-"
        table.add_row(
            route.value,
            f"{sum(row.is_right for row in own)}/{len(own)}",
            found,
            f"{mean(row.answer.usage.prompt_tokens for row in own):.0f}",
            f"{median(row.answer.usage.first_token_seconds for row in own):.2f}",
            f"{median(row.answer.usage.total_seconds for row in own):.2f}",
        )
    console.print(table)


def _why(row: Row) -> str:
    decision = row.answer.decision
    left = "".join(f"; not {item.route} ({item.reason})" for item in decision.fallbacks)
    return f"{decision.reason}: {decision.explanation}{left}"


def _where(row: Row) -> str:
    """The document and characters of the sentence that tells the answer, else of the best one."""
    pieces = row.answer.evidence
    if not pieces:
        return "-"
    best = max(pieces, key=lambda piece: (row.question.is_found([piece.text]), piece.score))
    return f"{best.document}:{best.start}-{best.end}" + (
        f" +{len(pieces) - 1}" if len(pieces) > 1 else ""
    )
