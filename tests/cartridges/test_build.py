"""From text to cartridge in one go or in many: the end is the same, and no stage is done twice."""

import itertools
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lesson_room import SENTENCES, finish

from cartridges import build as build_module
from cartridges import self_study
from cartridges.build import BuildReport, BuildSettings, Built, CartridgeBuilder
from cartridges.conversations import Conversation, read_conversations
from cartridges.distil import DistilSettings
from cartridges.lessons import load_lessons
from cartridges.manifest import CartridgeError
from cartridges.self_study import StudySettings
from engine.generation import GenerationRequest
from engine.model import LanguageModel

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
    drop = {"build_seconds": 0.0}
    assert left.metrics | drop == pytest.approx(right.metrics | drop)


def test_progress_never_falls_and_ends_at_one(
    model: LanguageModel, tmp_path: Path, student: str
) -> None:
    reports, _ = finish(builder(model, tmp_path).build())
    shares = [report.share for report in reports]

    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    expected = {
        "all sound": "study read",
        "some sound": "study read quote",
        "babble": "study quote",
    }
    stages = list(dict.fromkeys(report.stage for report in reports))
    assert stages == [*expected[student].split(), "match", "distil"]


def test_a_build_measures_what_it_made(model: LanguageModel, tmp_path: Path, student: str) -> None:
    reports, built = finish(builder(model, tmp_path).build())
    metrics = built.metrics

    assert reports[-1].metrics == metrics
    assert built.prefix.length == 24
    assert metrics["context_tokens"] == built.prefix.query_offset
    assert metrics["compression"] == pytest.approx(built.prefix.query_offset / 24)
    assert metrics["conversations"] == {"all sound": 20, "some sound": 14, "babble": 10}[student]
    assert metrics["held_out"] >= 4
    assert metrics["held_out_kl_none"] > 0
    assert metrics["recovered_start"] <= metrics["recovered"] <= 1.0
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
    for _ in range(9):  # ten reports are enough for the longest stage that starts anew
        build = builder(model, tmp_path / "work").build()
        if run_until(build, 10)[-1].share == 1.0:
            break
    else:
        pytest.fail("nine runs of ten reports each did not end the build")
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
        monkeypatch.setattr(self_study if name == "generate_text" else build_module, name, again)
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
    settings = BuildSettings(24, SETTINGS.study, distil=DistilSettings(steps=0))
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


def test_lessons_are_held_out_or_trained_on_never_both(
    model: LanguageModel, tmp_path: Path
) -> None:
    made = builder(model, tmp_path)
    for count in (1, 2, 3, 8, 40):
        lessons: list[Any] = [Conversation(i, "?", "") for i in range(count)]
        train, held_out = made._split(lessons)
        assert held_out
        assert train
        if count > 1:
            assert sorted([*train, *held_out], key=lambda c: c.sentence) == lessons


@pytest.mark.parametrize("sentences", [[], ["Short."], ["x = 1", "y = 2"]])
def test_a_text_with_nothing_to_ask_about_is_refused_and_says_so(
    model: LanguageModel, tmp_path: Path, sentences: list[str]
) -> None:
    build = CartridgeBuilder(model, sentences, tmp_path, SETTINGS).build()
    with pytest.raises(CartridgeError, match="nothing to learn") as caught:
        finish(build)
    assert caught.value.reason == "CARTRIDGE_CORPUS_TOO_SMALL"


@pytest.mark.parametrize(
    ("context", "wished", "length"),
    [(800, 0, 100), (100, 0, 16), (10, 0, 10), (800, 7, 7), (5, 7, 5)],
)
def test_a_prefix_is_an_eighth_of_its_context_unless_told_otherwise(
    context: int, wished: int, length: int
) -> None:
    assert BuildSettings(prefix_tokens=wished).length_for(context) == length
