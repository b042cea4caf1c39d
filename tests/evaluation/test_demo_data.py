"""The demo's corpora and questions agree with each other; no model is needed."""

import json
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

import evaluation

DATA = Path(evaluation.__file__).parent / "data"
HANDBOOK = "handbook"
REFERENCE = "python-reference"
QUESTION_FILES = ["handbook.questions.json", "handbook.heldout.json", "python_topics.json"]


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DATA / name).read_text(encoding="utf-8"))
    return loaded


def normalised(text: str) -> str:
    return " ".join(text.split())


def handbook_text() -> str:
    return (DATA / "handbook.md").read_text(encoding="utf-8")


def documents(corpus: str) -> list[str]:
    if corpus == HANDBOOK:
        return [handbook_text()]
    assert corpus == REFERENCE
    return [topics[name] for name in load("python_topics.json")["topics"]]


@pytest.mark.parametrize("name", QUESTION_FILES)
def test_every_evidence_stands_in_its_corpus_exactly_once(name: str) -> None:
    data = load(name)
    texts = [normalised(text) for text in documents(data["corpus"])]
    for item in data["questions"]:
        evidence = normalised(item["evidence"])
        assert sum(text.count(evidence) for text in texts) == 1, item["evidence"]


@pytest.mark.parametrize("name", QUESTION_FILES)
def test_every_evidence_holds_an_accepted_answer(name: str) -> None:
    for item in load(name)["questions"]:
        assert item["answers"]
        assert all(answer.strip() == answer != "" for answer in item["answers"])
        evidence = item["evidence"].lower()
        assert any(answer.lower() in evidence for answer in item["answers"]), item["question"]


@pytest.mark.parametrize("name", QUESTION_FILES)
def test_no_question_gives_its_own_answer_away(name: str) -> None:
    for item in load(name)["questions"]:
        question = item["question"].lower()
        assert not any(answer.lower() in question for answer in item["answers"]), question


@pytest.mark.parametrize("name", ["handbook.questions.json", "handbook.heldout.json"])
def test_handbook_evidence_is_quoted_character_for_character(name: str) -> None:
    text = handbook_text()
    for item in load(name)["questions"]:
        assert item["evidence"] in text


def test_no_held_out_question_or_its_fact_is_in_the_demo() -> None:
    demo = load("handbook.questions.json")["questions"]
    held_out = load("handbook.heldout.json")["questions"]
    for key in ("question", "evidence"):
        shown = {normalised(item[key]).lower() for item in demo}
        kept = {normalised(item[key]).lower() for item in held_out}
        assert len(shown) == len(demo)
        assert len(kept) == len(held_out)
        assert not shown & kept


def test_the_handbook_is_short_enough_for_one_model_window() -> None:
    assert 1_500 <= len(handbook_text().split()) <= 2_200


def test_every_reference_topic_exists_in_this_interpreter() -> None:
    names = load("python_topics.json")["topics"]
    assert len(set(names)) == len(names)
    assert [name for name in names if name not in topics] == []
