"""The report stands alone, shows what was run and what went wrong, and trusts no text."""

import base64
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluation.report import RunInfo, seconds_text, write_report
from evaluation.rows import Row
from evaluation.summary import summarise

pytest.importorskip("matplotlib")

RUN = RunInfo(
    suite="needle",
    title="Needles in two lengths",
    command="longmemory evaluate needle --lengths 4k,32k",
    server={"model": "tiny-model", "device": "cpu"},
    description={"seed": 7, "source": "essays", "repetition": "none of it", "needles": "5 kinds"},
    seconds=90.0,
    when="24 November 2026",
)
MARKUP = "<script>alert('&')</script><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """A page's tags with their attributes, its text, and the addresses that it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.classes: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href", "action", "data", "poster"):
                self.addresses.append(value or "")
            if name == "class":
                self.classes.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def needle(route: str, length: str, depth: int, score: float = 1.0) -> Row:
    return Row(
        suite="needle",
        scene=length,
        probe=f"code-{depth}",
        route=route,
        labels={"length": length, "depth": depth, "kind": "code"},
        question=f"Which code at {depth}?",
        expected=(("seven", "7"),),
        answer="seven" if score else "eight",
        score=score,
        recall=None if route == "full_context" else score,
        rank=1 if score else None,
        total_seconds=1.0,
    )


GRID = [
    needle(route, length, depth, float(depth > 0))
    for route in ("crag", "full_context")
    for length in ("4k", "32k")
    for depth in (0, 100)
]


def written(
    folder: Path, rows: list[Row], *names: str, run: RunInfo = RUN, ranked: bool = True
) -> tuple[Page, str]:
    summary = summarise(rows, names, ranked, run.description, {"longmemory": "0.1.0"})
    text = write_report(folder, run, summary, rows).read_text(encoding="utf-8")
    return Page(text), text


def test_it_asks_nothing_of_the_network(tmp_path: Path) -> None:
    page, text = written(tmp_path, GRID, "length", "depth", "kind")

    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe", "base", "object"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text


def test_it_says_what_was_run_on_what_and_how_the_texts_were_made(tmp_path: Path) -> None:
    page, _ = written(tmp_path, GRID, "length", "depth", "kind")

    head, made = page.text.split("How this was made")
    for fact in (RUN.title, RUN.command, RUN.when, "tiny-model", "cpu", "90.0 s", "seed 7"):
        assert fact in head
    for fact in ("source essays", "repetition none of it", "needles 5 kinds"):
        assert fact in made
    assert "longmemory, version 0.1.0" in made


def test_a_suite_that_is_silent_on_repetition_is_seen_to_be(tmp_path: Path) -> None:
    page, _ = written(tmp_path, GRID, run=replace(RUN, description={}))
    assert "repetition not stated" in page.text


def test_cells_are_counted_as_right_wrong_or_failed(tmp_path: Path) -> None:
    failed = replace(GRID[0], score=0.0, error="TIMEOUT: too slow")
    page, _ = written(tmp_path, [failed, *GRID[1:]])

    assert "4 questions by 2 routes: 8 cells, 4 right, 3 wrong, 1 failed." in page.text


def test_the_card_of_a_route_has_its_share_and_its_interval(tmp_path: Path) -> None:
    rows = [needle("crag", "4k", depth, float(depth > 2)) for depth in range(10)]
    (route,) = summarise(rows, (), ranked=True).routes
    page, _ = written(tmp_path, rows)

    low, high = 100 * route.right_low, 100 * route.right_high
    assert f"crag 70 % 95 % interval {low:g} % to {high:g} %" in page.text


def test_lengths_and_depths_make_a_picture_of_answers_and_one_of_evidence(tmp_path: Path) -> None:
    page, _ = written(tmp_path, GRID, "length", "depth", "kind")

    files = sorted(path.name for path in tmp_path.glob("*.png"))
    assert files == [
        "heat_map_crag_recall.png",
        "heat_map_crag_right.png",
        "heat_map_full_context_right.png",  # the route shows no evidence
    ]
    held = [base64.b64decode(address.partition(",")[2]) for address in page.addresses]
    assert len(set(held)) == 2 * len(files)  # light and dark
    for name in files:
        assert (tmp_path / name).read_bytes() in held


def test_a_cell_whose_every_try_failed_is_drawn_as_not_measured(tmp_path: Path) -> None:
    def picture(name: str, rows: list[Row]) -> bytes:
        (tmp_path / name).mkdir()
        written(tmp_path / name, rows, "length", "depth")
        return (tmp_path / name / "heat_map_crag_right.png").read_bytes()

    wrong = [needle("crag", "4k", 0, 0.0), needle("crag", "32k", 0)]
    failed = [replace(wrong[0], error="TIMEOUT: too slow"), wrong[1]]
    assert picture("wrong", wrong) != picture("failed", failed)


def test_the_other_labels_of_a_grid_have_tables_of_their_own(tmp_path: Path) -> None:
    page, _ = written(tmp_path, GRID, "length", "depth", "kind")

    assert "By length and depth" in page.text
    assert "By kind kind crag full_context code 50 % evidence 50 % 50 % no evidence" in page.text
    assert "By depth" not in page.text


def test_labels_without_a_grid_share_one_table_and_need_no_picture(tmp_path: Path) -> None:
    page, _ = written(tmp_path, GRID[:2], "kind", "depth")

    assert "By kind and depth kind depth crag code 0 0 % evidence 0 % code 100 100 %" in page.text
    assert "img" not in page.tags
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("ranked", [True, False])
def test_recall_at_a_rank_is_shown_where_a_suite_ranks(tmp_path: Path, ranked: bool) -> None:
    page, _ = written(tmp_path, GRID, ranked=ranked)
    assert ("recall@5" in page.text) == ranked


def test_every_wrong_and_failed_cell_is_listed_with_what_was_said(tmp_path: Path) -> None:
    wrong = replace(needle("crag", "4k", 0, 0.0), answer="eight of them", reason="BEST_EVIDENCE")
    found = replace(needle("crag", "4k", 1, 0.0), recall=1.0, rank=12)
    half = replace(needle("crag", "4k", 2, 0.0), recall=0.5)
    unseen = replace(needle("crag", "4k", 3, 0.0), recall=None, answer="")
    failed = replace(needle("crag", "4k", 4, 0.0), error="TIMEOUT: too slow")
    right = needle("crag", "4k", 5)
    page, _ = written(tmp_path, [wrong, found, half, unseen, failed, right])

    _, listed = page.text.split("Wrong and failed cells")
    assert "4 wrong, 1 failed" in listed
    assert page.tags.count("details") == 1 + 5
    assert "expected seven / 7 answer eight of them evidence not found" in listed
    assert "BEST_EVIDENCE" in listed
    assert "evidence found , rank 12" in listed
    assert "50 % found" in listed
    assert "nothing was said evidence none shown by this route" in listed
    assert "error TIMEOUT: too slow" in listed
    assert right.question not in listed


def test_a_run_without_a_mistake_says_so(tmp_path: Path) -> None:
    page, _ = written(tmp_path, [needle("crag", "4k", 0)])
    assert "None. Every cell was answered right." in page.text
    assert "details" not in page.tags


def test_markup_in_any_text_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    row = Row(
        suite="qa",
        scene=MARKUP,
        probe=MARKUP,
        route=MARKUP,
        labels={MARKUP: MARKUP},
        question=MARKUP,
        expected=((MARKUP, MARKUP),),
        answer=MARKUP,
        reason=MARKUP,
    )
    failed = replace(row, probe="2", error=MARKUP)
    named = {MARKUP: MARKUP}
    run = RunInfo(MARKUP, MARKUP, MARKUP, named, named, 1.0, MARKUP)
    page, text = written(tmp_path, [row, failed], MARKUP, run=run)

    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(") >= 15


def test_a_route_with_an_odd_name_still_gets_its_picture_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    written(folder, [needle("../a b", "4k", 0)], "length", "depth")

    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (folder / "heat_map__a_b_right.png").exists()


def test_an_empty_run_is_still_a_page(tmp_path: Path) -> None:
    page, _ = written(tmp_path, [], "length", "depth")
    assert "0 questions by 0 routes" in page.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0234, "23 ms"),
        (1.234, "1.23 s"),
        (45.67, "45.7 s"),
        (1800.0, "30 min"),
        (7380.0, "2 h 3 min"),
    ],
)
def test_durations_are_told_in_the_unit_that_people_read(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text
