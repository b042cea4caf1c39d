"""From text to cartridge in one go or in many: the end is the same, and no stage is done twice."""

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lesson_room import SENTENCES, finish

from cartridges import build as build_module
from cartridges import curriculum, self_study
from cartridges import start as start_module
from cartridges.build import BuildReport, BuildSettings, Built, CartridgeBuilder
from cartridges.conversations import Conversation, read_conversations
from cartridges.distil import DistilSettings
from cartridges.effort import Effort, settings_for
from cartridges.length import candidate_lengths, choose_length
from cartridges.lessons import Lesson, load_lessons
from cartridges.manifest import CartridgeError
from cartridges.refresh import REPLAY, balanced, base_of
from cartridges.self_study import StudySettings
from engine.answer_row import GenerationRequest
from engine.model import LanguageModel
from engine.rotation import move_prefix
from engine.scoring import Turn

SETTINGS = BuildSettings(
    prefix_tokens=24,
    study=StudySettings(conversations=20, gain=float("-inf"), batch=4, answer_tokens=6),
    distil=DistilSettings(steps=6, batch=2, rate=1e-2, warmup=1, evaluate=2),
)
LETTERS = str.maketrans("0123456789", "abcdefghij")


def answering(soundly: Callable[[int], bool]) -> Callable[..., list[str]]:
    """Stands in for the model's own questions: sound ones for some requests, babble for others."""

    def answer(model: LanguageModel, requests: Sequence[GenerationRequest], most: int) -> list[str]:
        texts = []
        for request in requests:
            name, warm = request.id.translate(LETTERS), request.params.temperature > 0
            question = f" Who is {name}{' now' if warm else ''}?"
            texts.append(
                f"{question}\nAnswer: {name} is seen" if soundly(int(request.id)) else "so so"
            )
        return texts

    return answer


@pytest.fixture(params=["all sound", "some sound", "babble"])
def student(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What self-study yields: enough, too little, nothing."""
    soundly = {
        "all sound": lambda i: True,
        "some sound": lambda i: i % 5 == 0,
        "babble": lambda i: False,
    }
    monkeypatch.setattr(self_study, "generate_text", answering(soundly[request.param]))
    return str(request.param)


@pytest.fixture
def scholar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A student whose every question is sound."""
    monkeypatch.setattr(self_study, "generate_text", answering(lambda i: True))


def builder(
    model: LanguageModel, work: Path, settings: BuildSettings = SETTINGS
) -> CartridgeBuilder:
    return CartridgeBuilder(model, SENTENCES, work, settings)


def assert_same(left: Built, right: Built) -> None:
    assert torch.equal(left.prefix.keys, right.prefix.keys)
    assert torch.equal(left.prefix.values, right.prefix.values)
    timed = [name for name in left.metrics if name.endswith("_seconds") or "break_even" in name]
    drop = dict.fromkeys(timed, 0.0)
    assert left.metrics | drop == pytest.approx(right.metrics | drop)
    assert left.curves == right.curves


def test_progress_never_falls_and_ends_at_one(
    model: LanguageModel, tmp_path: Path, student: str
) -> None:
    reports, _ = finish(builder(model, tmp_path).build())
    shares = [report.share for report in reports]

    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    stages = list(dict.fromkeys(report.stage for report in reports))
    assert stages == ["study", "read", "match", "distil"]


def test_a_build_measures_what_it_made(model: LanguageModel, tmp_path: Path, student: str) -> None:
    reports, built = finish(builder(model, tmp_path).build())
    metrics = built.metrics

    assert reports[-1].metrics == metrics
    assert built.prefix.length == 24
    assert metrics["context_tokens"] == built.prefix.query_offset
    assert metrics["compression"] == pytest.approx(built.prefix.query_offset / 24)
    assert metrics["conversations"] == {"all sound": 40, "some sound": 24, "babble": 20}[student]
    assert metrics["held_out"] >= 4
    assert metrics["held_out_kl_none"] > 0
    assert metrics["recovered_start"] <= metrics["recovered"] <= 1.0
    assert built.in_int8 == (metrics["recovered"] - metrics["recovered_int8"] <= 0.01)
    assert (metrics["coverage"], metrics["studied"]) == (metrics["conversations"] / 10, 1.0)
    assert metrics["student_tokens"] > 0 < metrics["teacher_tokens"]
    assert min(metrics["break_even_retrieval"], metrics["break_even_full_context"]) > 0
    assert len(built.curves["loss"]) == 6
    assert built.curves["measured_at"] == (2, 4, 6)
    assert max(built.curves["recovered"]) <= metrics["recovered"] + 1e-6
    assert torch.isfinite(built.prefix.values).all()


def test_progress_of_training_tells_loss_and_pace(model: LanguageModel, tmp_path: Path) -> None:
    reports, built = finish(builder(model, tmp_path).build())
    steps = [report.metrics for report in reports if "step" in report.metrics]

    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert all(step["loss"] > 0 and step["steps"] == 6 for step in steps)
    assert steps[-1]["recovered"] == pytest.approx(built.metrics["recovered"], abs=1e-5)
    assert steps[-1]["seconds_left"] == 0.0


def run_until(build: Generator[BuildReport, None, Built], reports: int) -> list[BuildReport]:
    seen = list(itertools.islice(build, reports))
    build.close()
    return seen


@pytest.mark.usefixtures("student")
def test_a_build_killed_anywhere_ends_like_an_unbroken_one(
    model: LanguageModel, tmp_path: Path
) -> None:
    reports, whole = finish(builder(model, tmp_path / "whole").build())
    assert len(reports) > 12

    for stop in range(1, len(reports), 3):
        work = tmp_path / str(stop)
        assert len(run_until(builder(model, work).build(), stop)) == stop
        _, resumed = finish(builder(model, work).build())
        assert_same(resumed, whole)


@pytest.mark.usefixtures("student")
def test_a_build_killed_again_and_again_comes_to_its_end(
    model: LanguageModel, tmp_path: Path
) -> None:
    _, whole = finish(builder(model, tmp_path / "whole").build())
    for _ in range(9):  # fifteen reports are enough for the longest stage that starts anew
        build = builder(model, tmp_path / "work").build()
        if run_until(build, 15)[-1].share == 1.0:
            break
    else:
        pytest.fail("nine runs of fifteen reports each did not end the build")
    assert_same(finish(builder(model, tmp_path / "work").build())[1], whole)


@pytest.mark.usefixtures("scholar")
@pytest.mark.parametrize(
    ("stage", "finished"),
    [
        ("read", ["generate_text"]),
        ("match", ["generate_text", "read_lessons"]),
        ("distil", ["generate_text", "read_lessons", "match_prefix"]),
    ],
)
def test_a_finished_stage_is_not_done_again(
    model: LanguageModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    finished: list[str],
) -> None:
    build = builder(model, tmp_path).build()
    while next(build).stage != stage:
        pass
    build.close()

    def again(*args: Any) -> None:
        pytest.fail(f"done again in {stage}")

    for name in finished:
        rooms = {
            "generate_text": self_study,
            "read_lessons": curriculum,
            "match_prefix": start_module,
        }
        monkeypatch.setattr(rooms.get(name, build_module), name, again)
    reports, _ = finish(builder(model, tmp_path).build())
    assert reports[-1].share == 1.0


def test_training_goes_on_behind_its_last_checkpoint(model: LanguageModel, tmp_path: Path) -> None:
    build = builder(model, tmp_path).build()
    while next(build).metrics.get("step") != 5:  # one step past the checkpoint of step 4
        pass
    build.close()

    reports, _ = finish(builder(model, tmp_path).build())
    assert [report.metrics["step"] for report in reports if "step" in report.metrics] == [5, 6]


@pytest.mark.usefixtures("scholar")
def test_a_study_goes_on_with_the_batch_that_was_not_finished(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_until(builder(model, tmp_path).build(), 4)  # the beginning and three batches
    asked: list[str] = []
    answer = self_study.generate_text

    def counting(
        model: LanguageModel, requests: Sequence[GenerationRequest], most: int
    ) -> list[str]:
        asked.extend(request.id for request in requests)
        return answer(model, requests, most)

    monkeypatch.setattr(self_study, "generate_text", counting)
    finish(builder(model, tmp_path).build())

    assert asked == [str(i) for i in range(12, 20)]
    conversations = read_conversations(tmp_path / "conversations.jsonl")
    assert len(conversations) == len(set(conversations)) == 20


@pytest.mark.usefixtures("scholar")
def test_a_batch_torn_by_a_kill_is_written_anew(model: LanguageModel, tmp_path: Path) -> None:
    _, whole = finish(builder(model, tmp_path / "whole").build())
    work = tmp_path / "torn"
    run_until(builder(model, work).build(), 2)  # the beginning and one batch
    with (work / "conversations.jsonl").open("ab") as file:
        file.write('{"sentence": 3, "question": "Who is é'.encode()[:-1])  # half a character

    _, built = finish(builder(model, work).build())
    assert_same(built, whole)


def test_a_build_without_training_keeps_the_start(model: LanguageModel, tmp_path: Path) -> None:
    settings = replace(SETTINGS, distil=DistilSettings(steps=0))
    reports, built = finish(builder(model, tmp_path, settings).build())

    assert built.metrics["recovered"] == built.metrics["recovered_start"]
    assert reports[-1].share == 1.0


@pytest.mark.usefixtures("scholar")
def test_a_conversation_that_the_corpus_does_not_explain_is_dropped(
    model: LanguageModel, tmp_path: Path
) -> None:
    study = StudySettings(20, gain=0.0, batch=4, answer_tokens=6)
    finish(builder(model, tmp_path, BuildSettings(24, study, distil=SETTINGS.distil)).build())

    lessons = load_lessons(tmp_path, model)
    assert lessons
    studied = [x.conversation for x in lessons if x.conversation.question.startswith("Who is")]
    assert 0 < len(studied) < 20
    assert all(conversation.gain >= 0.0 for conversation in studied)


@pytest.mark.parametrize("sentences", [[], ["Short."], ["x = 1", "y = 2"]])
def test_a_text_with_nothing_to_ask_about_is_refused_and_says_so(
    model: LanguageModel, tmp_path: Path, sentences: list[str]
) -> None:
    build = CartridgeBuilder(model, sentences, tmp_path, SETTINGS).build()
    with pytest.raises(CartridgeError, match="nothing to learn") as caught:
        finish(build)
    assert caught.value.reason == "CARTRIDGE_CORPUS_TOO_SMALL"


@pytest.mark.usefixtures("scholar")
def test_an_unset_length_is_read_off_what_several_recover(
    model: LanguageModel, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, prefix_tokens=0)
    reports, built = finish(builder(model, tmp_path, settings).build())

    tried = [report.message for report in reports if report.message.startswith("trying")]
    lengths = candidate_lengths(built.prefix.query_offset)
    assert list(dict.fromkeys(tried)) == [f"trying {length} tokens" for length in lengths]
    assert built.curves["length"] == lengths
    curve = dict(zip(lengths, built.curves["length_recovered"], strict=True))
    assert built.prefix.length == choose_length(curve)
    build = builder(model, tmp_path / "broken", settings).build()
    while next(build).stage != "distil":
        pass
    build.close()
    assert_same(finish(builder(model, tmp_path / "broken", settings).build())[1], built)


@pytest.mark.parametrize(
    ("curve", "length"),
    [
        ({16: 0.95, 32: 0.99}, 16),  # enough
        ({16: 0.5, 32: 0.51, 64: 0.9}, 16),  # twice as many add nothing
        ({16: 0.3, 32: 0.5, 64: 0.65}, 64),  # every step helps
        ({16: 0.3}, 16),
    ],
)
def test_the_shortest_length_that_is_worth_it_is_chosen(
    curve: dict[int, float], length: int
) -> None:
    assert choose_length(curve) == length


@pytest.mark.parametrize(
    ("context", "lengths"), [(10, (10,)), (100, (16, 17)), (2400, (50, 100, 200, 400))]
)
def test_lengths_worth_trying_are_parts_of_the_context(
    context: int, lengths: tuple[int, ...]
) -> None:
    assert candidate_lengths(context) == lengths


@pytest.mark.usefixtures("scholar")
def test_a_refresh_studies_the_change_and_starts_from_what_there_was(
    model: LanguageModel, tmp_path: Path
) -> None:
    _, old = finish(builder(model, tmp_path / "old").build())
    texts = [*SENTENCES[:9], "The ship Marigold was raised again in 1999 by two divers."]
    studied = old.studied(SENTENCES)
    base = base_of(old.prefix, studied, texts, {9})
    assert all(c.sentence != 9 and c.question for c in base.known)
    assert len(base.known) == round(REPLAY * sum(s.passage != SENTENCES[9] for s in studied))

    settings = replace(SETTINGS, study=replace(SETTINGS.study, conversations=2))
    made = CartridgeBuilder(model, texts, tmp_path / "new", settings, base)
    _, built = finish(made.build())

    assert built.prefix.length == old.prefix.length
    assert built.prefix.query_offset == len(made.prompter.context_ids(texts))
    asked = {lesson.conversation for lesson in (*built.train, *built.held_out)}
    new = [c for c in asked if replace(c, gain=0.0) not in base.known]
    assert {c.sentence for c in new} == {9}
    assert not base.taught & {lesson.conversation.question for lesson in built.held_out}
    # What chooses a checkpoint is not all that measures it.
    assert built.metrics["recovered"] >= built.metrics["recovered_start"] - 0.02


@pytest.mark.usefixtures("scholar")
def test_a_refresh_starts_from_the_earlier_prefix_moved_to_the_new_text(
    model: LanguageModel, tmp_path: Path
) -> None:
    _, old = finish(builder(model, tmp_path / "old").build())
    texts = [*SENTENCES, "The jetty was rebuilt in oak by the two captains."]
    base = base_of(old.prefix, [], texts, {10})
    untrained = replace(SETTINGS, distil=DistilSettings(steps=0))
    made = CartridgeBuilder(model, texts, tmp_path / "new", untrained, base)
    _, built = finish(made.build())

    offset = len(made.prompter.context_ids(texts))
    moved = move_prefix(model, old.prefix, offset)
    assert torch.equal(built.prefix.values, old.prefix.values)
    assert torch.equal(built.prefix.keys, moved.keys)
    assert built.prefix.query_offset == offset > old.prefix.query_offset


@pytest.mark.parametrize(("new", "old"), [(2, 9), (5, 5), (9, 2), (0, 4), (1, 0)])
def test_what_changed_is_half_of_what_a_refresh_learns(new: int, old: int) -> None:
    lessons = [
        Lesson(Conversation(int(i < new), "?", ""), Turn((), ()), torch.empty(0))
        for i in range(new + old)
    ]
    made = balanced(lessons, {1})
    changed = sum(lesson.conversation.sentence == 1 for lesson in made)
    assert len(made) - changed == old
    assert {id(lesson) for lesson in made} == {id(lesson) for lesson in lessons}
    if 0 < new <= old:
        assert abs(changed - old) <= new / 2


@pytest.mark.parametrize("effort", list(Effort))
def test_every_effort_is_a_recipe(effort: Effort) -> None:
    settings = settings_for(effort, seed=3)
    assert (settings.study.seed, settings.match.seed, settings.distil.seed) == (3, 3, 3)
    assert (settings.distil.steps <= 30) == (effort is Effort.INSTANT)
    assert settings.study.kinds


@pytest.mark.usefixtures("scholar")
def test_an_instant_build_is_measured_on_what_it_did_not_learn(
    model: LanguageModel, tmp_path: Path
) -> None:
    _, built = finish(builder(model, tmp_path, settings_for(Effort.INSTANT)).build())
    taught = {x.conversation.question for x in built.train}
    assert not taught & {x.conversation.question for x in built.held_out}
    assert built.metrics["held_out"] == len(built.held_out) >= 4
    assert len(built.curves["loss"]) == 30
