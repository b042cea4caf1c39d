"""Training helps or changes nothing, and a broken run goes on as if it had not been broken."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lesson_room import finish, make_lessons, read_context

from cartridges.checkpoint import Checkpoint
from cartridges.conversations import Conversation
from cartridges.distil import DistilSettings, _batch, _general, distil
from cartridges.lessons import Lesson
from cartridges.match import truncate_prefix
from cartridges.quality import kl_rows, mean_kl
from engine.model import LanguageModel
from engine.prefix import KVPrefix

SETTINGS = DistilSettings(steps=6, batch=3, rate=2e-2, warmup=2, evaluate=2, seed=1)


@pytest.fixture(scope="module")
def lessons(model: LanguageModel) -> list[Lesson]:
    return make_lessons(model)


@pytest.fixture(scope="module")
def start(model: LanguageModel) -> KVPrefix:
    return truncate_prefix(read_context(model), 24)


def test_divergence_is_torchs_own_and_none_between_equals() -> None:
    teacher, student = torch.randn(2, 7, 50, generator=torch.Generator().manual_seed(0)) * 3
    expected = torch.nn.functional.kl_div(
        student.log_softmax(-1), teacher.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)

    torch.testing.assert_close(kl_rows(teacher, student), expected)
    torch.testing.assert_close(kl_rows(teacher, teacher + 5.0), torch.zeros(7), atol=1e-5, rtol=0)
    assert (kl_rows(teacher, student) > 0).all()


def test_the_teacher_differs_from_itself_by_nothing(
    model: LanguageModel, lessons: list[Lesson], start: KVPrefix
) -> None:
    assert mean_kl(model, lessons, read_context(model)) == pytest.approx(0.0, abs=1e-5)
    assert mean_kl(model, lessons, start) > 0.01
    assert mean_kl(model, lessons, None) > 0.01


def test_training_lowers_the_loss_it_trains_on(
    model: LanguageModel, lessons: list[Lesson], start: KVPrefix
) -> None:
    settings = DistilSettings(steps=20, batch=4, rate=2e-2, evaluate=5)
    reports, best = finish(distil(model, start, lessons, lessons, settings))

    assert mean_kl(model, lessons, best) < 0.95 * mean_kl(model, lessons, start)
    assert [report.step for report, _ in reports] == list(range(1, 21))
    measured = [report.held_out for report, _ in reports if report.held_out is not None]
    assert len(measured) == 4
    assert mean_kl(model, lessons, best) == pytest.approx(min(measured), abs=1e-6)


def test_a_budget_that_is_spent_ends_the_training_with_the_best_so_far(
    model: LanguageModel, lessons: list[Lesson], start: KVPrefix
) -> None:
    known = iter([6, 3, 2])
    training = distil(model, start, lessons, lessons, SETTINGS, None, lambda step: next(known))
    reports, best = finish(training)

    assert [report.step for report, _ in reports] == [1, 2]
    assert mean_kl(model, lessons, best) <= mean_kl(model, lessons, start)


def test_time_for_three_steps_trains_like_three_steps(
    model: LanguageModel, lessons: list[Lesson], start: KVPrefix
) -> None:
    hurried = distil(model, start, lessons, lessons, SETTINGS, None, lambda step: 3)
    short = distil(model, start, lessons, lessons, replace(SETTINGS, steps=3))
    (told, one), (expected, other) = finish(hurried), finish(short)

    assert [report for report, _ in told] == [report for report, _ in expected]
    assert torch.equal(one.keys, other.keys)


def test_a_training_that_harms_gives_the_start_back(
    model: LanguageModel, lessons: list[Lesson], start: KVPrefix
) -> None:
    settings = DistilSettings(steps=4, batch=2, rate=50.0, warmup=0, evaluate=1)
    reports, best = finish(distil(model, start, lessons[:5], lessons[5:], settings))

    before = mean_kl(model, lessons[5:], start)
    assert all(report.held_out is not None and report.held_out > before for report, _ in reports)
    assert mean_kl(model, lessons[5:], best) == before
    assert torch.equal(best.values, start.values)


@pytest.mark.parametrize("keys", [0.0, 1.0])
def test_the_sink_and_the_questions_place_never_change_and_keys_only_where_told(
    model: LanguageModel, lessons: list[Lesson], start: KVPrefix, keys: float
) -> None:
    settings = DistilSettings(steps=8, batch=4, rate=2e-2, keys=keys, evaluate=4, frozen=2)
    kept = start.keys.clone(), start.values.clone()
    _, best = finish(distil(model, start, lessons, lessons, settings))

    assert torch.equal(best.keys, start.keys) == (not keys)
    assert torch.equal(best.keys[:, :, :2], start.keys[:, :, :2])
    assert torch.equal(best.values[:, :, :2], start.values[:, :, :2])
    assert not torch.isclose(best.values[:, :, 2:], start.values[:, :, 2:]).all()
    assert best.query_offset == start.query_offset
    assert torch.equal(start.keys, kept[0])
    assert torch.equal(start.values, kept[1])


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 6])
def test_a_training_broken_at_any_step_ends_like_an_unbroken_one(
    tmp_path: Path, model: LanguageModel, lessons: list[Lesson], start: KVPrefix, stop: int
) -> None:
    train, held_out = lessons[:7], lessons[7:]
    reports, whole = finish(distil(model, start, train, held_out, SETTINGS))
    path = tmp_path / "checkpoint.safetensors"

    training = distil(model, start, train, held_out, SETTINGS)
    for _ in range(stop):
        _, checkpoint = next(training)
    checkpoint.save(path)
    training.close()
    loaded = Checkpoint.load(path, model.device)
    rest, resumed = finish(distil(model, start, train, held_out, SETTINGS, loaded))

    assert [report for report, _ in rest] == [report for report, _ in reports][stop:]
    assert torch.equal(resumed.values, whole.values)


def test_a_checkpoint_comes_back_as_it_was_saved(
    tmp_path: Path, model: LanguageModel, lessons: list[Lesson], start: KVPrefix
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    assert Checkpoint.load(path, model.device) is None
    for _, checkpoint in distil(model, start, lessons, lessons, SETTINGS):
        checkpoint.save(path)
        loaded = Checkpoint.load(path, model.device)
        assert loaded is not None
        assert (loaded.step, loaded.best_kl) == (checkpoint.step, checkpoint.best_kl)
        assert (loaded.stale, loaded.tokens) == (checkpoint.stale, checkpoint.tokens)
        for name in ("change", "mean", "square", "best"):
            assert torch.equal(getattr(loaded, name), getattr(checkpoint, name))
        assert torch.equal(loaded.curve.nan_to_num(), checkpoint.curve.nan_to_num())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_every_lesson_is_used_once_each_epoch_in_another_order(lessons: list[Lesson]) -> None:
    settings = DistilSettings(batch=3)
    used = [id(x) for step in range(20) for x in _batch(lessons, step, settings)]
    epochs = [used[i : i + 10] for i in range(0, 60, 10)]

    assert all(set(Counter(epoch).values()) == {1} and len(epoch) == 10 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    other = DistilSettings(batch=3, seed=5)
    assert used != [id(x) for step in range(20) for x in _batch(lessons, step, other)]


def test_a_training_that_gets_no_better_ends_early(
    model: LanguageModel, lessons: list[Lesson], start: KVPrefix
) -> None:
    settings = DistilSettings(steps=40, batch=2, rate=50.0, warmup=0, evaluate=2, patience=3)
    reports, best = finish(distil(model, start, lessons[:5], lessons[5:], settings))

    assert reports[-1][0].step == 6
    assert torch.equal(best.values, start.values)


def test_the_curve_tells_every_step_also_behind_a_break(
    tmp_path: Path, model: LanguageModel, lessons: list[Lesson], start: KVPrefix
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    reports, _ = finish(distil(model, start, lessons, lessons, SETTINGS))
    training = distil(model, start, lessons, lessons, SETTINGS)
    for _ in range(3):
        _, checkpoint = next(training)
    checkpoint.save(path)
    rest, _ = finish(
        distil(model, start, lessons, lessons, SETTINGS, Checkpoint.load(path, model.device))
    )
    last = rest[-1][1]

    assert last.losses() == tuple(report.loss for report, _ in reports)
    assert last.measured() == [(r.step, r.held_out) for r, _ in reports if r.held_out is not None]
    assert last.tokens == sum(report.tokens for report, _ in reports)


def test_steps_in_packs_are_the_step_in_one(
    model: LanguageModel,
    lessons: list[Lesson],
    start: KVPrefix,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Accumulated gradients: the mean is over rows, however they are read."""
    settings = DistilSettings(steps=2, batch=6, rate=2e-2, warmup=0, evaluate=1)
    _, whole = finish(distil(model, start, lessons, lessons, settings))
    monkeypatch.setattr("cartridges.lessons.PACK_TOKENS", 40)
    reports, packed = finish(distil(model, start, lessons, lessons, settings))

    assert reports[0][0].loss > 0
    torch.testing.assert_close(packed.values, whole.values, atol=1e-3, rtol=1e-3)


def test_a_conversation_counts_by_what_the_corpus_adds_to_it(lessons: list[Lesson]) -> None:
    def weight(gain: float, kind: str = "question") -> float:
        return replace(lessons[0], conversation=Conversation(0, "Who?", "He.", gain, kind)).weight

    assert weight(0.5) == 0.5
    assert weight(9.0) == weight(2.0) == 2.0
    assert 0 < weight(-1.0) < 0.01
    assert weight(0.0, "general") == 1.0


@pytest.mark.parametrize("share", [0.03, 0.1, 0.5])
def test_general_conversations_are_their_share(lessons: list[Lesson], share: float) -> None:
    settings = DistilSettings(batch=4, general=share)
    taken = [len(_general(lessons[:3], step, settings)) for step in range(100)]
    assert sum(taken) == round(400 * share)
    assert max(taken) - min(taken) <= 1
    assert _general([], 5, settings) == []


def test_a_mean_weighs_every_answer_token_alike(
    model: LanguageModel, lessons: list[Lesson], start: KVPrefix
) -> None:
    alone = [mean_kl(model, [lesson], start) for lesson in lessons]
    sizes = [len(lesson.turn.answer) for lesson in lessons]
    expected = sum(kl * size for kl, size in zip(alone, sizes, strict=True)) / sum(sizes)

    assert len(set(sizes)) > 1
    assert mean_kl(model, lessons, start) == pytest.approx(expected, rel=1e-4)
