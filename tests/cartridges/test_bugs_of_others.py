"""What goes wrong in other cartridge code, as listed in the field, goes right here."""

import json
from pathlib import Path

import pytest
import torch
from lesson_room import SENTENCES, finish, make_lessons, matched, read_context

from cartridges import self_study
from cartridges.build import BuildSettings, CartridgeBuilder
from cartridges.checkpoint import Checkpoint
from cartridges.conversations import read_conversations
from cartridges.distil import DistilSettings, distil
from cartridges.match import MatchSettings, truncate_prefix
from cartridges.quality import kl_rows, mean_kl
from cartridges.self_study import StudySettings
from cartridges.store import BuiltPart, load_cartridge, read_manifest, store_cartridge
from engine.model import LanguageModel
from engine.prefix import KVPrefix

QUICK = DistilSettings(steps=4, batch=2, rate=2e-2, warmup=1, evaluate=2)


@pytest.fixture
def start(model: LanguageModel) -> KVPrefix:
    return truncate_prefix(read_context(model), 24)


@pytest.mark.parametrize("frozen", [0, 1, 3])
def test_the_number_of_frozen_rows_survives_a_reload_also_none(
    tmp_path: Path, model: LanguageModel, start: KVPrefix, frozen: int
) -> None:
    store_cartridge(tmp_path / "c", model, [BuiltPart(start, frozen=frozen)], "", {}, {})
    assert read_manifest(tmp_path / "c").parts[0].frozen == frozen
    assert load_cartridge(tmp_path / "c", model).prefix.length == 24


def test_training_with_no_frozen_row_goes_on_behind_a_reload(
    tmp_path: Path, model: LanguageModel, start: KVPrefix
) -> None:
    lessons, path = make_lessons(model), tmp_path / "checkpoint.safetensors"
    settings = DistilSettings(steps=4, batch=2, rate=2e-2, warmup=1, evaluate=2, frozen=0)
    _, whole = finish(distil(model, start, lessons, lessons, settings))
    training = distil(model, start, lessons, lessons, settings)
    next(training)
    next(training)[1].save(path)
    _, resumed = finish(
        distil(model, start, lessons, lessons, settings, Checkpoint.load(path, model.device))
    )
    assert torch.equal(resumed.values, whole.values)
    assert not torch.equal(whole.values[:, :, 0], start.values[:, :, 0])


def test_a_flat_distribution_counts_with_its_whole_tail() -> None:
    """Others keep the top entry alone of a row whose twenty best have little mass."""
    flat, peaked = torch.zeros(1, 1000), torch.zeros(1, 1000)
    peaked[0, 0] = 5.0
    expected = (flat.softmax(-1) * (flat.log_softmax(-1) - peaked.log_softmax(-1))).sum()
    assert float(kl_rows(flat, peaked)) == pytest.approx(float(expected), rel=1e-4)
    assert float(kl_rows(flat, peaked)) > 0.1


def test_a_loss_is_a_mean_over_rows_and_not_over_entries(
    model: LanguageModel, start: KVPrefix
) -> None:
    """A step's first loss is the mean of its rows' divergences, peaked and flat ones alike."""
    lessons = [make_lessons(model)[0]]
    (report, _), *_ = finish(distil(model, start, lessons, lessons, QUICK))[0]
    assert report.loss == pytest.approx(mean_kl(model, lessons, start), rel=1e-3)


def test_a_long_training_leaves_one_checkpoint(
    tmp_path: Path, model: LanguageModel, start: KVPrefix
) -> None:
    lessons, path = make_lessons(model), tmp_path / "checkpoint.safetensors"
    for _, checkpoint in distil(model, start, lessons, lessons, QUICK):
        checkpoint.save(path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_a_step_limit_stops(model: LanguageModel, start: KVPrefix, steps: int) -> None:
    lessons = make_lessons(model)
    settings = DistilSettings(steps=steps, batch=2, evaluate=10)
    reports, _ = finish(distil(model, start, lessons, lessons, settings))
    assert [report.step for report, _ in reports] == list(range(1, steps + 1))
    assert reports[-1][0].held_out is not None, "the last step is measured whatever the interval"


def test_a_batch_that_fails_is_no_silent_loss_and_earlier_ones_are_kept(
    tmp_path: Path, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def answer(model: LanguageModel, requests: list[object], most: int) -> list[str]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("out of memory")
        return [f" Who is {'abcdefgh'[calls]}{i}?\nAnswer: He." for i in "abcd"]

    monkeypatch.setattr(self_study, "generate_text", answer)
    study = StudySettings(conversations=16, batch=4)
    builder = CartridgeBuilder(model, SENTENCES, tmp_path, BuildSettings(study=study))
    with pytest.raises(RuntimeError, match="out of memory"):
        finish(builder.build())
    assert len(read_conversations(tmp_path / "conversations.jsonl")) == 8


def test_the_token_that_ends_an_answer_is_the_models_own(family_model: LanguageModel) -> None:
    for lesson in make_lessons(family_model, 2):
        assert lesson.turn.answer[-1] == min(family_model.stop_ids)


@pytest.mark.parametrize("length", [5, 13, 17, 31])
def test_a_prefix_has_the_length_it_was_given_page_or_no_page(
    tmp_path: Path, model: LanguageModel, length: int
) -> None:
    turns = [lesson.turn for lesson in make_lessons(model)]
    prefix = matched(model, turns, length, MatchSettings(steps=0))
    store_cartridge(tmp_path / "c", model, [BuiltPart(prefix)], "", {}, {})
    assert load_cartridge(tmp_path / "c", model).prefix.length == length


def test_nothing_of_a_cartridge_can_run_code(
    tmp_path: Path, model: LanguageModel, start: KVPrefix
) -> None:
    store_cartridge(tmp_path / "c", model, [BuiltPart(start)], "", {}, {})
    kinds = {path.suffix for path in (tmp_path / "c").iterdir()}
    assert kinds == {".json", ".safetensors"}
    json.loads((tmp_path / "c" / "manifest.json").read_text())
