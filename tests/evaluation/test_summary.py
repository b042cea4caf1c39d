"""Figures say what the rows hold, failures count against a route, and the order is people's own."""

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from evaluation.rows import Row
from evaluation.scenes import Label
from evaluation.summary import (
    figures_of,
    group_figures,
    label_text,
    natural,
    percent,
    pivoted,
    summarise,
)
from evaluation.summary_table import MOST_LINES, print_summary


def row(route: str = "crag", score: float = 1.0, **labels: Label) -> Row:
    return Row("needle", "s", "p", route, labels, "?", (("a",),), score=score, recall=1.0, rank=1)


FAILED = replace(row(), score=0.0, recall=None, rank=None, error="TIMEOUT: too slow")


def test_a_failed_cell_counts_as_wrong_and_is_left_out_of_what_was_measured() -> None:
    fast = replace(row(), prompt_tokens=100, total_seconds=1.0)
    slow = replace(row(score=0.5), prompt_tokens=300, total_seconds=4.0, recall=0.5)
    late = replace(FAILED, score=1.0)  # failed after it had said the answer
    figures = figures_of([fast, slow, FAILED, late], ranked=True)

    assert (figures.count, figures.failed) == (4, 2)
    assert (figures.right, figures.score) == (0.25, 0.375)
    assert figures.recall == 0.75
    assert figures.recall_at_1 == 1.0
    assert (figures.prompt_tokens, figures.total_seconds) == (200, 2.5)


def test_times_are_medians_so_that_one_slow_cell_does_not_decide() -> None:
    times = [0.1, 0.2, 90.0]
    rows = [
        replace(row(), prepare_seconds=t, first_token_seconds=2 * t, total_seconds=3 * t)
        for t in times
    ]
    figures = figures_of(rows, ranked=False)

    assert figures.prepare_seconds == 0.2
    assert figures.first_token_seconds == 0.4
    assert figures.total_seconds == pytest.approx(0.6)


def test_where_every_cell_failed_nothing_but_the_failure_is_told() -> None:
    figures = figures_of([FAILED], ranked=True)

    assert (figures.right, figures.failed) == (0.0, 1)
    assert figures.recall is None
    assert figures.recall_at_10 is None
    assert figures.prompt_tokens is None
    assert figures.total_seconds is None


def test_recall_at_a_rank_counts_gold_that_stands_that_high_and_misses_against_it() -> None:
    rows = [replace(row(), rank=rank) for rank in (1, 5, 6, 11, None)]
    figures = figures_of(rows, ranked=True)

    assert figures.recall_at_1 == 0.2
    assert figures.recall_at_5 == 0.4
    assert figures.recall_at_10 == 0.6


def test_a_suite_that_does_not_rank_and_a_route_without_evidence_have_no_recall_at_a_rank() -> None:
    unseen = replace(row(), recall=None, rank=None)

    assert figures_of([row()], ranked=False).recall_at_1 is None
    assert figures_of([unseen], ranked=True).recall_at_1 is None
    assert figures_of([unseen, row()], ranked=True).recall_at_1 == 1.0


def test_the_interval_lies_around_the_share_and_is_the_same_in_every_run_and_company() -> None:
    crag = [row("crag", float(i % 4 > 0)) for i in range(80)]
    (alone,) = summarise(crag, (), ranked=False).routes
    together = summarise(crag + [row("none", 0.0)] * 9, (), ranked=False).routes

    # The normal approximation gives 0.75 ± 0.095.
    assert 0.63 < alone.right_low < 0.69
    assert 0.81 < alone.right_high < 0.87
    assert alone in together


def test_more_cells_give_a_narrower_interval_and_equal_ones_none() -> None:
    few, many = (
        summarise([row(score=float(i % 2)) for i in range(n)], (), ranked=False).routes[0]
        for n in (10, 1000)
    )
    (certain,) = summarise([row()] * 5, (), ranked=False).routes

    assert many.right_high - many.right_low < 0.5 * (few.right_high - few.right_low)
    assert (certain.right_low, certain.right_high) == (1.0, 1.0)


@pytest.mark.parametrize(
    "ordered",
    [
        ["4k", "32k", "128k", "1m"],
        ["900", "1k", "1.5k", "2K", "1M"],
        [0, 11, 100],
        [0.0, 0.5, 5, 11.5],
        ["hop 2", "hop 10"],
        ["multikey 1", "multikey 2", "single 1", "single 3"],
        ["4moons", "32keys"],
        ["", "4k", "other"],
    ],
    ids=str,
)
def test_labels_sort_as_people_count(ordered: list[Label]) -> None:
    mixed = ordered[::2] + ordered[1::2][::-1]
    assert sorted(mixed, key=natural) == ordered
    mixed.reverse()
    assert sorted(mixed, key=natural) == ordered


def test_groups_are_ordered_by_labels_and_then_routes_whatever_came_first() -> None:
    rows = [
        row(route, length=length, depth=depth)
        for route in ("crag", "zebra", "infini_retri")
        for depth in (100, 0, 11)
        for length in ("1m", "128k", "4k")
    ]
    groups = group_figures(rows, ("length", "depth"), ranked=False)
    backward = group_figures(rows[::-1], ("length", "depth"), ranked=False)

    places = [(g.labels["length"], g.labels["depth"], g.route) for g in groups]
    assert places == [
        (length, depth, route)
        for length in ("4k", "128k", "1m")
        for depth in (0, 11, 100)
        for route in ("infini_retri", "crag", "zebra")
    ]
    assert groups == backward


def test_each_group_has_the_figures_of_its_own_rows() -> None:
    rows = [row(length="4k"), row(length="32k"), row(length="32k", score=0.0), row("none", 0.0)]
    lines = pivoted(group_figures(rows, ("length",), ranked=False))

    assert list(lines) == [("",), ("4k",), ("32k",)]
    assert lines["4k",]["crag"].right == 1.0
    assert (lines["32k",]["crag"].right, lines["32k",]["crag"].count) == (0.5, 2)
    assert list(lines["",]) == ["none"]


def test_the_summary_is_json_with_all_that_a_reader_needs() -> None:
    rows = [row(length=length, kind=kind) for length in ("32k", "4k") for kind in ("date", "code")]
    summary = summarise(rows, ("length", "kind"), True, {"seed": 7}, {"longmemory": "0.1.0"})
    value = json.loads(json.dumps(summary.as_json()))

    assert value["suite"] == "needle"
    assert value["description"] == {"seed": 7}
    assert value["versions"] == {"longmemory": "0.1.0"}
    assert value["grouped_by"] == ["length", "kind"]
    assert value["routes"][0]["route"] == "crag"
    assert value["routes"][0]["right"] == value["routes"][0]["right_low"] == 1.0
    assert [g["labels"]["length"] for g in value["groups"]] == ["4k", "4k", "32k", "32k"]
    assert [g["labels"] for g in value["by_label"]["kind"]] == [{"kind": "code"}, {"kind": "date"}]
    assert value["by_label"]["length"][0]["count"] == 2


def test_rows_of_two_suites_are_not_summed_up_together() -> None:
    with pytest.raises(ValueError, match="needle, qa"):
        summarise([row(), replace(row(), suite="qa")], (), ranked=False)


def test_no_rows_give_an_empty_summary() -> None:
    summary = summarise([], ("length",), ranked=False)
    assert (summary.routes, summary.groups) == ((), ())


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100 %"),
        (0.0, "0 %"),
        (0.9999, "99.9 %"),
        (0.0001, "0.1 %"),
        (0.5, "50 %"),
        (0.973, "97.3 %"),
        (None, "–"),
    ],
)
def test_only_all_is_shown_as_all_and_only_nothing_as_nothing(
    share: float | None, text: str
) -> None:
    assert percent(share) == text


def test_a_label_is_shown_without_a_trail_of_decimals() -> None:
    assert [label_text(label) for label in ("4k", 11, 0.30000000000000004)] == ["4k", "11", "0.3"]


def printed(rows: list[Row], *names: str) -> str:
    console = Console(file=StringIO(), width=100)
    print_summary(console, summarise(rows, names, ranked=True))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_terminal_shows_routes_and_groups_and_markup_as_it_was_typed() -> None:
    text = printed([row(task="[bold]single[/]"), row("none", 0.0, task="multi"), FAILED], "task")

    assert "[bold]single[/]" in text
    (right,) = [line.split() for line in text.splitlines() if "answers right" in line]
    assert right == ["answers", "right", "50", "%", "0", "%"]
    (multi,) = [line.split() for line in text.splitlines() if "multi" in line]
    assert multi == ["multi", "0", "%", "·", "100", "%"]


def test_more_groups_than_anyone_reads_are_shown_label_by_label() -> None:
    few = [row(length="4k", depth=depth) for depth in range(MOST_LINES)]
    assert "by length and depth" in printed(few, "length", "depth")

    text = printed([*few, row(length="32k", depth=0)], "length", "depth")
    assert "by length and depth" not in text
    assert "by length:" in text
    assert "by depth:" in text


def test_an_empty_run_says_so_on_the_terminal() -> None:
    assert "no cells" in printed([])
