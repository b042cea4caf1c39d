"""Questions with gold passages: one corpus of all the passages, and each question's own one."""

import json
from pathlib import Path

import pytest

from evaluation.qa import QaSuite
from evaluation.scenes import Scene

ROWS: list[dict[str, object]] = [
    {"question": "Who keeps bees?", "answers": ["Ann", "Ann Lee"], "passage": "Ann keeps bees."},
    {"question": "Where?", "answers": ["Rye"], "title": "Bees", "passage": "They live in Rye."},
    {"question": "What does Ann keep?", "answers": ["bees"], "passage": "Ann keeps bees."},
    {"question": "And when?", "answers": ["May"], "title": "Hives", "passage": "They live in Rye."},
]


def write(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "qa.jsonl"
    path.write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows),
        encoding="utf-8",
    )
    return path


def scene_of(suite: QaSuite) -> Scene:
    (scene,) = suite.scenes()
    return scene


def test_each_distinct_passage_is_one_document_under_its_title(tmp_path: Path) -> None:
    scene = scene_of(QaSuite(write(tmp_path, *ROWS)))
    assert [(document.id, document.data().decode()) for document in scene.documents] == [
        ("p-00000.txt", "Ann keeps bees."),
        ("p-00001.txt", "Bees\nThey live in Rye."),
        ("p-00002.txt", "Hives\nThey live in Rye."),
    ]


def test_each_question_has_its_passage_as_gold_and_all_answers_as_forms(tmp_path: Path) -> None:
    probes = scene_of(QaSuite(write(tmp_path, *ROWS))).probes
    places = [gold.document for probe in probes for gold in probe.gold]
    assert places == ["p-00000.txt", "p-00001.txt", "p-00000.txt", "p-00002.txt"]
    assert [probe.question for probe in probes] == [row["question"] for row in ROWS]
    assert probes[0].answers == (("Ann", "Ann Lee"),)
    assert len({probe.id for probe in probes}) == 4
    assert {probe.max_output_tokens for probe in probes} == {32}
    assert all(probe.labels == {} for probe in probes)


def test_any_piece_of_the_passage_is_a_hit_and_no_other_passage(tmp_path: Path) -> None:
    (gold,) = scene_of(QaSuite(write(tmp_path, *ROWS))).probes[0].gold
    assert gold.is_in("p-00000.txt", "keeps")
    assert not gold.is_in("p-00001.txt", "Ann keeps bees.")


def test_fewer_questions_are_asked_of_the_same_corpus(tmp_path: Path) -> None:
    path = write(tmp_path, *ROWS)
    few, all_of_them = scene_of(QaSuite(path, 2)), scene_of(QaSuite(path))
    assert few.documents == all_of_them.documents
    assert few.probes == all_of_them.probes[:2]
    assert QaSuite(path, 2).description == {
        "source": str(path),
        "questions": 2,
        "passages": 3,
        "characters": 15 + 22 + 23,
    }
    assert (QaSuite(path).name, QaSuite(path).grouped_by) == ("qa", ())


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{", "line 2: is not JSON.*write one JSON object a line"),
        ('"text"', "line 2: is a text; write one JSON object a line"),
        ({"question": "Q?", "answers": ["A"]}, 'line 2: "passage" is missing; add it'),
        (ROWS[0] | {"answers": []}, 'line 2: "answers" is empty.*at least one'),
        (ROWS[0] | {"answers": {"a": 1}}, 'line 2: "answers" is an object; write'),
        (ROWS[0] | {"question": ""}, 'line 2: "question" is empty; write'),
        (ROWS[0] | {"title": 4}, 'line 2: "title" is a number; write a text'),
    ],
)
def test_a_bad_line_is_told_before_a_run_with_its_file_number_field_and_mend(
    tmp_path: Path, row: object, problem: str
) -> None:
    path = write(tmp_path, ROWS[0], row)
    with pytest.raises(ValueError, match=rf"qa\.jsonl, {problem}"):
        QaSuite(path, 1)


def test_a_file_without_a_question_or_no_question_asked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no question"):
        QaSuite(write(tmp_path, ""))
    with pytest.raises(ValueError, match="most is 0; ask at least 1"):
        QaSuite(write(tmp_path, *ROWS), 0)


def test_a_file_that_is_not_there_is_told_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        QaSuite(tmp_path / "none.jsonl")
