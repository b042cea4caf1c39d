"""What a cartridge learns from: what was asked, what came of it, and how evenly it covers the text."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lesson_room import SENTENCES, finish, make_lessons, read_context

from cartridges import costs, self_study
from cartridges import interview as interview_module
from cartridges.conversations import Conversation
from cartridges.costs import Pace, Stopwatch, break_even, teacher_tokens
from cartridges.coverage import coverage_of
from cartridges.curriculum import Curriculum
from cartridges.general import general_lessons
from cartridges.interview import interview
from cartridges.quality import Yardstick, measure
from cartridges.self_study import StudySettings, plan_study
from engine.answer_row import GenerationRequest
from engine.model import LanguageModel
from engine.prompts import Lead, Prompter
from engine.scoring import answer_nll

WHOLE = range(len(SENTENCES))
LETTERS = str.maketrans("0123456789", "abcdefghij")


def curriculum(
    model: LanguageModel, work: Path, settings: StudySettings, known: Sequence[Conversation] = ()
) -> Curriculum:
    work.mkdir(exist_ok=True)
    return Curriculum(model, SENTENCES, work, settings, WHOLE, known)


def test_what_came_of_a_study_is_told(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others drop failed conversations in silence."""

    def answer(model: LanguageModel, requests: Sequence[GenerationRequest], most: int) -> list[str]:
        return [
            f" Who is {r.id.translate(LETTERS)}?\nAnswer: He." if int(r.id) % 2 else "so so"
            for r in requests
        ]

    monkeypatch.setattr(self_study, "generate_text", answer)
    settings = StudySettings(conversations=12, gain=-100.0, batch=4)
    made = curriculum(model, tmp_path, settings)
    _, lessons = finish(made.lessons(read_context(model)))

    assert made.account(lessons) == {"asked": 12.0, "sound": 6.0, "kept": 6.0}
    assert len(lessons) == 6 + 20
    again = curriculum(model, tmp_path, settings).lessons(read_context(model))
    reports, stored = finish(again)
    assert reports == []
    assert [x.conversation for x in stored] == [x.conversation for x in lessons]


def test_known_conversations_are_read_again_with_the_context_there_is(
    model: LanguageModel, tmp_path: Path
) -> None:
    known = [Conversation(3, "Who shares each watch?", "Two keepers share it.", gain=9.0)]
    settings = StudySettings(kinds=(), quoted=0.0, gain=-100.0)
    _, lessons = finish(curriculum(model, tmp_path, settings, known).lessons(read_context(model)))
    assert [replace(x.conversation, gain=9.0) for x in lessons] == known
    assert lessons[0].conversation.gain != 9.0


def test_coverage_counts_every_sentence_of_a_passage_and_finds_the_thinnest_tenth() -> None:
    even = [Conversation(i, "?", "") for i in range(20)]
    assert coverage_of(even, 20).times == 1.0
    assert coverage_of(even, 20).thinnest == 1.0
    half = coverage_of(even[:10], 20)
    assert (half.times, half.studied, half.thinnest) == (0.5, 0.5, 0.0)
    wide = coverage_of([Conversation(0, "?", "", kind="summarization")], 20)
    assert (wide.times, wide.studied) == (0.2, 0.2)
    assert coverage_of([Conversation(19, "?", "", kind="summarization")], 20).studied == 0.05
    assert coverage_of([], 20).thinnest == 0.0
    assert coverage_of([], 0).times == 0.0


def test_a_stopwatch_goes_on_where_it_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "seconds"
    path.write_text("100.5")
    watch = Stopwatch(path)
    assert 100.5 <= watch.seconds < 110
    watch.keep()
    assert 100.5 <= Stopwatch(path).seconds < 120
    assert 0 <= Stopwatch(tmp_path / "none").seconds < 10


def test_a_pace_tells_how_many_steps_there_is_time_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(costs.time, "monotonic", lambda: now[0])
    (tmp_path / "seconds").write_text("40.0")  # of an attempt that was killed at the tenth step
    pace = Pace(Stopwatch(tmp_path / "seconds"), budget=100.0, steps=50, first=10)

    assert pace.steps_in_time(10) == 50  # nothing is known yet
    now[0] = 10.0
    assert pace.seconds_a_step(15) == 2.0
    assert pace.steps_in_time(15) == 15 + 25
    now[0] = 11.0
    assert pace.steps_in_time(30) == 50
    now[0] = 60.0
    assert pace.steps_in_time(30) == 30
    endless = Pace(Stopwatch(tmp_path / "seconds"), budget=0.0, steps=50, first=0)
    now[0] = 1e6
    assert endless.steps_in_time(1) == 50


def test_tokens_of_the_teacher_are_the_text_once_and_each_conversation_four_times(
    model: LanguageModel,
) -> None:
    lessons = make_lessons(model, 3)
    assert teacher_tokens(100, lessons) == 100 + 4 * sum(x.turn.length for x in lessons)


def test_a_build_has_paid_after_as_many_questions_as_their_texts_take_its_time_to_read() -> None:
    costs = {"build_seconds": 60.0, "reading_seconds": 2.0, "evidence_seconds": 0.5}
    assert break_even(costs) == {"break_even_full_context": 30.0, "break_even_retrieval": 120.0}


def test_a_general_lesson_is_the_model_with_no_text_and_its_student_has_no_lead(
    model: LanguageModel,
) -> None:
    question = "What is the capital of Portugal?"
    (lesson,) = general_lessons(model, [question])
    prompter = Prompter(model)

    assert list(lesson.turn.question) == prompter.question_ids(question, Lead())
    assert lesson.weight == 1.0
    ids = [*prompter.bare_ids(question), *lesson.turn.answer]
    with torch.inference_mode():
        hidden = model.network.model(torch.tensor([ids])).last_hidden_state[0]
    first = len(prompter.bare_ids(question)) - 1
    expected = hidden[first : first + len(lesson.turn.answer)]
    torch.testing.assert_close(lesson.states, expected, atol=1e-3, rtol=1e-3)


def test_the_full_context_recovers_everything_and_none_recovers_nothing(
    model: LanguageModel,
) -> None:
    lessons = make_lessons(model)
    scale = Yardstick.of(model, lessons)
    full, none = (measure(model, lessons, prefix) for prefix in (read_context(model), None))

    assert scale.recovered(full.kl) == pytest.approx(1.0, abs=1e-4)
    assert scale.recovered(none.kl) == 0.0
    assert scale.full_nll == pytest.approx(full.nll, abs=1e-4)
    assert scale.none == none
    if scale.none.nll > scale.full_nll:
        assert scale.recovered_nll(full) == pytest.approx(1.0, abs=1e-3)
    mean = sum(
        nll * len(x.turn.answer)
        for x, nll in zip(lessons, answer_nll(model, [x.turn for x in lessons], None), strict=True)
    ) / sum(len(x.turn.answer) for x in lessons)
    assert none.nll == pytest.approx(mean, abs=1e-3)


def test_a_model_that_follows_instructions_reads_each_window_once_a_batch(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[GenerationRequest] = []

    def answer(model: LanguageModel, requests: Sequence[GenerationRequest], most: int) -> list[str]:
        asked.extend(requests)
        return [f" Who is {r.id.translate(LETTERS)} there? " for r in requests]

    monkeypatch.setattr(interview_module, "generate_text", answer)
    settings = StudySettings(conversations=10, batch=10, window=120)
    plan = plan_study(SENTENCES, settings, WHOLE)
    (found,) = interview(model, SENTENCES, plan, settings)

    assert sorted(c.sentence for c in found) == list(WHOLE)
    assert all(c.question == c.answer for c in found)
    assert len(asked) == 2 * len(WHOLE)
    prefixes = {id(request.prefix): request.prefix for request in asked}
    assert 2 <= len(prefixes) <= 5
    lines = sum(len(Prompter(model).line_ids(s)) for s in SENTENCES)
    empty = len(Prompter(model).context_ids([]))
    lengths = [prefix.length for prefix in prefixes.values() if prefix]
    assert sum(lengths) == lines + empty * len(prefixes)
    assert all(length <= 120 + empty for length in lengths)
