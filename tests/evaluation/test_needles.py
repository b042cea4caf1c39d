"""Needles are drawn from a seed, can be answered from their sentences alone, and mislead no one."""

import json
import random
import re
from pathlib import Path

import pytest

from evaluation.needles import KINDS, LOOKALIKES, Needle, make_needle, read_needles
from evaluation.questions import normalised
from evaluation.scenes import Probe


def many(kind: str, count: int = 300) -> list[Needle]:
    chance = random.Random(7)
    return [make_needle(kind, chance) for _ in range(count)]


def template(needle: Needle) -> str:
    """The question without its invented name: what stands at the same place in two of a kind."""
    return re.sub(r"\b(?!In\b)[A-Z][a-z]{4,}\b", "X", needle.question[1:])


def names_in(text: str) -> set[str]:
    return {word for word in re.findall(r"\b[A-Z][a-z]{5,}\b", text) if word not in FAMILIAR}


FAMILIAR = {"Captain", "Another", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday"}
FAMILIAR |= {"Saturday", "Sunday", "January", "February", "August", "September", "October"}
FAMILIAR |= {"November", "December", "Middle"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_an_answer_is_told_in_one_sentence_and_nowhere_else(kind: str) -> None:
    for needle in many(kind):
        assert needle.kind == kind
        told = [normalised(sentence) for sentence in needle.sentences]
        for part in needle.answers:
            assert sum(text.count(normalised(part[0])) for text in told) == 1, needle
            for form in part:
                assert normalised(form) not in normalised(needle.question), needle
                assert not any(normalised(form) in normalised(o) for o in needle.lookalikes), needle


@pytest.mark.parametrize("kind", KINDS)
def test_question_and_sentences_are_about_the_same_invented_name(kind: str) -> None:
    for needle in many(kind, 100):
        (name,) = names_in(needle.question)
        assert all(names_in(sentence) == {name} for sentence in needle.sentences), needle
        assert not any(name in names_in(other) for other in needle.lookalikes)


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_are_short_and_end_with_a_full_stop(kind: str) -> None:
    for needle in many(kind, 100):
        for sentence in needle.sentences + needle.lookalikes:
            assert sentence[0].isupper()
            assert sentence.endswith(".")
            assert 20 < len(sentence) < 100
            assert not {"{", "}", "\n", "=", "|"} & set(sentence)
        assert needle.question.endswith("?")


@pytest.mark.parametrize(("kind", "least"), [*zip(KINDS, (8, 5, 5, 4, 8), strict=True)])
def test_a_kind_asks_in_many_ways_about_many_names(kind: str, least: int) -> None:
    needles = many(kind)
    assert len({template(needle) for needle in needles}) >= least
    names = {name for needle in needles for name in names_in(needle.question)}
    assert len(names) > 280  # of 300: thousands to choose from
    assert len({needle.sentences for needle in needles}) == len(needles)


def test_numbers_have_5_to_7_digits_that_stand_together() -> None:
    lengths = set()
    for needle in many("number"):
        ((plain, grouped, spaced),) = needle.answers
        assert plain.isdigit()
        assert grouped.replace(",", "") == spaced.replace(" ", "") == plain
        lengths.add(len(plain))
    assert lengths == {5, 6, 7}


def test_moments_are_accepted_in_every_way_that_people_write_them() -> None:
    parts = {part for needle in many("moment", 3000) for part in needle.answers}
    assert ("14 March", "March 14", "14th of March", "14th March") in parts
    assert ("22 June", "June 22", "22nd of June", "22nd June") in parts
    assert ("7:40", "7.40") in parts
    assert ("Tuesday",) in parts
    assert any(re.fullmatch(r"1[678]\d\d", part[0]) for part in parts)


def test_a_moment_is_never_the_tail_of_another_one() -> None:
    forms = {part[0] for needle in many("moment", 2000) for part in needle.answers}
    assert not [(a, b) for a in forms for b in forms if a != b and b.endswith(a)]


def test_several_is_three_sentences_for_three_parts_of_one_answer() -> None:
    for needle in many("several", 100):
        assert len(needle.sentences) == len(needle.answers) == len(set(needle.answers)) == 3
        probe = Probe("p", needle.question, needle.answers)
        assert probe.score(" ".join(needle.sentences)) == 1.0
        for sentence in needle.sentences:
            assert probe.score(sentence) == pytest.approx(1 / 3)


def test_lookalikes_tell_other_values_of_other_names_in_the_same_words() -> None:
    for needle in many("lookalike", 100):
        (sentence,) = needle.sentences
        (name,) = names_in(needle.question)
        ((value, *_forms),) = needle.answers
        shape = re.escape(sentence).replace(re.escape(value), ".+").replace(name, r"\w+")
        assert len(set(needle.lookalikes)) == LOOKALIKES
        assert all(re.fullmatch(shape, other) for other in needle.lookalikes)
        assert not any(names_in(other) == {name} for other in needle.lookalikes)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "lookalike"])
def test_only_lookalike_needles_have_lookalikes(kind: str) -> None:
    assert all(needle.lookalikes == () for needle in many(kind, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_needle_and_another_seed_another(kind: str) -> None:
    drawn = [make_needle(kind, random.Random(seed)) for seed in ("a", "a", "b")]
    assert drawn[0] == drawn[1] != drawn[2]


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'facts'.*fact, number"):
        make_needle("facts", random.Random(0))


def write(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "needles.jsonl"
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines),
        encoding="utf-8",
    )
    return path


def test_a_file_of_needles_is_read_in_order(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"needle": " Ann keeps bees. ", "question": "Who keeps bees?", "answer": "Ann"},
        "",
        {"needle": ["A.", "B.\u2028C."], "question": "What?", "answer": ["a and b", "b and a"]},
    )
    assert read_needles(path) == [
        Needle("file", ("Ann keeps bees.",), "Who keeps bees?", (("Ann",),)),
        Needle("file", ("A.", "B.\u2028C."), "What?", (("a and b", "b and a"),)),
    ]


GOOD = {"needle": "Ann keeps bees.", "question": "Who keeps bees?", "answer": "Ann"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"needle": ', "line 2: is not JSON.*one JSON object a line"),
        ("[1]", "line 2: is a list.*one JSON object a line"),
        ({"needle": "A.", "question": "B?"}, 'line 2: "answer" is missing; add it'),
        (GOOD | {"question": ["B?"]}, 'line 2: "question" is a list.*write a text'),
        (GOOD | {"question": "  "}, 'line 2: "question" is empty; write'),
        (GOOD | {"needle": 5}, 'line 2: "needle" is a number; write a text or a list of texts'),
        (GOOD | {"needle": None}, 'line 2: "needle" is null; write'),
        (GOOD | {"needle": []}, 'line 2: "needle" is empty.*at least one'),
        (GOOD | {"answer": ["x", " "]}, 'line 2: "answer" .*empty text.*none that is blank'),
        (GOOD | {"answer": ["x", 3]}, 'line 2: "answer" is a list of other things.*list of texts'),
        (GOOD | {"answer": True}, 'line 2: "answer" is true or false; write'),
    ],
)
def test_a_bad_line_is_told_with_its_file_number_field_and_mend(
    tmp_path: Path, line: object, problem: str
) -> None:
    path = write(tmp_path, GOOD, line, GOOD)
    with pytest.raises(ValueError, match=rf"needles\.jsonl, {problem}"):
        read_needles(path)


def test_a_file_without_a_needle_or_of_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no needle; write one JSON object a line"):
        read_needles(write(tmp_path, "", " "))
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"needle": "caf\xe9"}')
    with pytest.raises(ValueError, match="save it as UTF-8"):
        read_needles(path)
