"""Which lessons train, which measure, and which choose."""

from dataclasses import replace

import pytest
import torch

from cartridges.conversations import Conversation
from cartridges.lessons import Lesson
from cartridges.split import split
from engine.scoring import Turn


def lessons_of(kinds: list[str]) -> list[Lesson]:
    return [
        Lesson(Conversation(i, "?", "", 0.0, kind), Turn((), ()), torch.empty(0))
        for i, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 40, 41])
@pytest.mark.parametrize("kinds", [["question"], ["recitation"], ["recitation", "question"]])
def test_no_lesson_that_measures_is_trained_on(count: int, kinds: list[str]) -> None:
    lessons = lessons_of([kinds[i % len(kinds)] for i in range(count)])
    parts = split(lessons, 0.15, 4)
    train, held_out, judges = (set(map(id, x)) for x in (parts.train, parts.held_out, parts.judges))

    assert train
    assert held_out
    assert held_out <= judges
    if count > 1:
        assert not train & held_out
        assert train | held_out == set(map(id, lessons))
        assert len(held_out) <= count // 2
        assert judges - held_out <= train


def test_what_a_model_wrote_measures_and_as_many_quotations_help_to_choose() -> None:
    kinds = ["question"] * 20 + ["recitation"] * 40 + ["mention"] * 20
    parts = split(lessons_of(kinds), 0.1, 4)

    assert len(parts.held_out) == 10
    assert {x.conversation.kind for x in parts.held_out} == {"question"}
    chosen = [x.conversation.kind for x in parts.judges]
    assert chosen.count("question") == 10
    assert 10 <= len(chosen) - chosen.count("question") <= 12
    assert {"recitation", "mention"} < set(chosen)


def test_where_a_model_wrote_little_quotations_measure() -> None:
    parts = split(lessons_of(["question"] * 7 + ["recitation"] * 33), 0.15, 4)

    assert len(parts.held_out) == 6
    assert parts.judges == parts.held_out


def test_quotations_that_measure_leave_no_other_form_of_their_sentence_in_training() -> None:
    lessons = lessons_of(["recitation"] * 20 + ["mention"] * 20)
    twice = [
        replace(x, conversation=replace(x.conversation, sentence=i % 20))
        for i, x in enumerate(lessons)
    ]
    parts = split(twice, 0.15, 4)

    measured = {x.conversation.sentence for x in parts.held_out}
    assert len(parts.held_out) == 2 * len(measured) == 6
    assert not measured & {x.conversation.sentence for x in parts.train}


def test_what_the_start_was_taught_does_not_measure() -> None:
    lessons = [
        replace(x, conversation=replace(x.conversation, question=f"{i}?"))
        for i, x in enumerate(lessons_of(["question"] * 40))
    ]
    taught = {f"{i}?" for i in range(30)}
    parts = split(lessons, 0.15, 4, taught)

    assert len(parts.held_out) == 5
    assert not taught & {x.conversation.question for x in parts.held_out}
