"""Rows survive the file as they were, and a run that was killed goes on where it stopped."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.rows import Row, RowFile

ROW = Row(
    suite="needle",
    scene="4k",
    probe="code-0",
    route="crag",
    labels={"length": "4k", "depth": 11, "share": 0.5},
    question="Which code?",
    expected=(("seven", "7"), ("lamps",)),
    answer="Seven lamps.",
    score=1.0,
    recall=0.5,
    rank=3,
    prompt_tokens=90,
    prefix_tokens=4,
    output_tokens=5,
    prepare_seconds=0.1,
    first_token_seconds=0.2,
    total_seconds=0.3,
    reason="BEST_EVIDENCE",
)


@pytest.fixture
def file(tmp_path: Path) -> RowFile:
    return RowFile(tmp_path / "results.jsonl")


def other(probe: str) -> Row:
    return replace(ROW, probe=probe)


def test_a_row_comes_back_as_it_was_written(file: RowFile) -> None:
    bare = Row("needle", "4k", "code-1", "none", {}, "?", (("a",),), error="TIMEOUT: too slow")
    file.append(ROW)
    file.append(bare)

    assert file.read() == [ROW, bare]


def test_an_answer_with_line_breaks_of_any_kind_stays_one_row(file: RowFile) -> None:
    row = replace(ROW, answer="one\ntwo\r\nthree\u2028four\x0bfive\x85six")
    file.append(row)
    file.append(other("after"))

    assert file.read() == [row, other("after")]


def test_the_newest_row_of_a_cell_counts_and_keeps_the_cells_place(file: RowFile) -> None:
    file.append(replace(ROW, score=0.0))
    file.append(other("second"))
    file.append(ROW)

    assert file.read() == [ROW, other("second")]


@pytest.mark.parametrize("name", ["scene", "probe", "route"])
def test_cells_that_differ_in_scene_probe_or_route_are_kept_apart(file: RowFile, name: str) -> None:
    changed = replace(ROW, **{name: "other"})  # type: ignore[arg-type]
    file.append(ROW)
    file.append(changed)

    assert file.read() == [ROW, changed]


def test_failed_cells_are_not_finished_until_a_later_try_succeeds(file: RowFile) -> None:
    failed = replace(ROW, score=0.0, error="UNAVAILABLE: the server is gone")
    file.append(failed)
    file.append(replace(ROW, probe="wrong", score=0.0))
    assert set(file.finished()) == {("4k", "wrong", "crag")}

    file.append(ROW)
    assert set(file.finished()) == {("4k", "wrong", "crag"), ("4k", "code-0", "crag")}


@pytest.mark.parametrize("kept", [1, 30, -1])
def test_a_torn_last_line_is_dropped_and_the_next_row_starts_afresh(
    file: RowFile, kept: int
) -> None:
    file.append(ROW)
    line = file.path.read_bytes()
    file.path.write_bytes(line + line[:kept])
    assert file.read() == [ROW]

    file.append(other("next"))
    assert file.read() == [ROW, other("next")]
    assert len(file.path.read_bytes().split(b"\n")) == 3


def test_a_file_that_is_one_torn_line_starts_afresh(file: RowFile) -> None:
    file.path.write_bytes(b'{"suite": "nee')
    assert file.read() == []

    file.append(ROW)
    assert file.read() == [ROW]


def test_without_a_file_nothing_is_read_and_nothing_finished(file: RowFile) -> None:
    assert file.read() == []
    assert set(file.finished()) == set()


@pytest.mark.parametrize(
    "line",
    ["not json", "{}", "[]", json.dumps(ROW.as_json() | {"unknown": 1})],
    ids=["no JSON", "no fields", "no object", "an unknown field"],
)
def test_a_whole_line_that_is_no_row_is_refused_by_its_number(file: RowFile, line: str) -> None:
    file.append(ROW)
    file.path.write_bytes(file.path.read_bytes() + line.encode() + b"\n")

    with pytest.raises(ValueError, match=r"results\.jsonl, line 2"):
        file.read()


def test_only_a_full_score_without_an_error_is_right() -> None:
    assert ROW.is_right
    assert not replace(ROW, score=0.5).is_right
    assert not replace(ROW, error="CANCELLED: stopped").is_right
