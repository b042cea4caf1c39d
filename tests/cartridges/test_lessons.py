"""What the teacher says is kept exactly, and half a file is no lessons."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lesson_room import SENTENCES, finish, make_lessons, read_context

from cartridges import lessons as lessons_module
from cartridges.lessons import load_lessons, read_lessons, save_lessons
from cartridges.self_study import quotations
from engine.model import LanguageModel
from engine.scoring import answer_logits, answer_nll, project


def test_a_lesson_holds_the_teachers_own_logits_and_the_contexts_gain(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons_module, "PACK_TOKENS", 200)  # several packs
    quoted = quotations(SENTENCES, 10, 0, range(10))
    context = read_context(model)

    shares, lessons = finish(read_lessons(model, quoted, context))

    assert len(shares) > 2
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for lesson, conversation in zip(lessons, quoted, strict=True):
        alone = answer_logits(model, [lesson.turn], context)
        torch.testing.assert_close(project(model, lesson.states), alone, atol=1e-3, rtol=1e-3)
        (bare,) = answer_nll(model, [lesson.turn], None)
        (told,) = answer_nll(model, [lesson.turn], context)
        assert lesson.conversation.gain == pytest.approx(bare - told, abs=1e-3)
        assert replace(lesson.conversation, gain=0.0) == conversation


def test_lessons_come_back_as_they_were_saved(tmp_path: Path, model: LanguageModel) -> None:
    lessons = make_lessons(model)
    save_lessons(tmp_path, lessons)
    loaded = load_lessons(tmp_path, model)

    assert loaded is not None
    assert len(loaded) == len(lessons) == 10
    for first, second in zip(lessons, loaded, strict=True):
        assert first.conversation == second.conversation
        assert first.turn == second.turn
        assert torch.equal(first.states, second.states)


def test_a_saving_that_broke_off_is_no_lessons(
    tmp_path: Path, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("killed")

    assert load_lessons(tmp_path, model) is None
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="killed"):
        save_lessons(tmp_path, make_lessons(model, 2))
    assert load_lessons(tmp_path, model) is None
