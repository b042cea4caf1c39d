"""A corpus becomes a cartridge of one part or several, and a changed one is learned from the old."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from answering_room import Room, build

from cartridges import self_study
from cartridges.build import BuildReport, BuildSettings
from cartridges.distil import DistilSettings
from cartridges.effort import Effort, settings_for
from cartridges.guard import Guard
from cartridges.manifest import Manifest
from cartridges.match import MatchSettings
from cartridges.self_study import StudySettings
from cartridges.store import load_studied, read_manifest
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.sampling import SamplingParams
from service.answers import Delta, Question, Route
from service.errors import ServiceError
from service.lease import JobLostError
from service.parts import changed_sentences, cut_parts
from service.residents import Residents
from service.staleness import Staleness
from service.state.cartridge_shelf import CartridgeState
from service.training import Trainer, TrainRequest

RECIPE = BuildSettings(
    prefix_tokens=24,
    study=StudySettings(kinds=(), quoted=1.0),
    match=MatchSettings(steps=4),
    distil=DistilSettings(steps=2, batch=2, evaluate=1, general=0.0),
)


@pytest.fixture
def room(tmp_path: Path, model: LanguageModel, embedder: Embedder, handbook: str) -> Iterator[Room]:
    room = build(tmp_path / "data", model, embedder)
    room.corpora.create("books")
    room.write("\n".join(handbook.splitlines()[:40]))
    room.index()
    yield room
    room.thread.close()
    room.corpora._store.close()


def place(room: Room, name: str) -> Path:
    """Where the only files of a cartridge lie."""
    (found,) = room.layout.cartridge("books", name).iterdir()
    return found


@pytest.fixture
def train(
    room: Room, model: LanguageModel, embedder: Embedder
) -> Callable[..., tuple[list[BuildReport], Manifest]]:
    trainer = Trainer(model, embedder, room.layout, room.shelf)

    def run(name: str, **changes: object) -> tuple[list[BuildReport], Manifest]:
        corpus = room.corpora.get("books")
        room.shelf.create(
            "books", name, prefix_tokens=0, query_offset=0,
            model_fingerprint=model.fingerprint, corpus_digest=corpus.content_digest,
        )  # fmt: skip
        request = replace(TrainRequest(name, RECIPE), **changes)  # type: ignore[arg-type]
        work = room.layout.work / f"job-{name}.1"
        reports = list(trainer.train(work, corpus, room.resident(), request))
        return reports, read_manifest(place(room, name))

    return run


@pytest.mark.parametrize("most", [300, 700, 1500, 100_000])
def test_parts_are_all_windows_in_order_and_none_is_much_longer_than_told(
    room: Room, most: int
) -> None:
    resident = room.resident()
    parts = cut_parts(resident, most)

    assert [digest for part in parts for digest in part.windows] == list(resident.windows)
    assert [i for part in parts for i in part.sentences] == list(range(len(resident.index)))
    sizes = dict(
        zip(resident.windows, map(resident.tokens_of, range(len(resident.windows))), strict=True)
    )
    for part in parts:
        assert len(part.windows) == 1 or sum(sizes[digest] for digest in part.windows) <= most
    assert (len(parts) == 1) == (sum(sizes.values()) <= most)


def test_a_cartridge_in_parts_answers_by_the_part_that_knows_the_nearest_sentence(
    room: Room, train: Callable[..., tuple[list[BuildReport], Manifest]]
) -> None:
    reports, manifest = train("c-parts", part_tokens=600)
    resident = room.resident()
    parts = cut_parts(resident, 600)

    assert [part.windows for part in manifest.parts] == [part.windows for part in parts]
    assert len(parts) > 1
    shares = [report.share for report in reports]
    assert shares == sorted(shares)
    assert reports[-1].message == f"part {len(parts)} of {len(parts)}: built"
    record = room.shelf.get("books", "c-parts")
    assert record.state is CartridgeState.READY
    assert record.metrics["parts"] == len(parts)
    tokens = [part.metrics["context_tokens"] for part in manifest.parts]
    assert record.metrics["context_tokens"] == sum(tokens)
    weighed = sum(
        t * part.metrics["recovered"] for t, part in zip(tokens, manifest.parts, strict=True)
    )
    assert record.metrics["recovered"] == pytest.approx(weighed / sum(tokens))
    for number, part in enumerate(parts):
        sentence = part.sentences[len(part.sentences) // 2]
        window = resident.window_of(sentence)
        of = ("books", "c-parts", record.tensor_digest)
        loaded = room.library.part(*of, room.library.manifest(*of).part_of(window)).cartridge
        assert loaded.number == number
        assert window in loaded.manifest.parts[number].windows


async def test_a_decision_names_the_part_that_was_taken(
    room: Room, train: Callable[..., tuple[list[BuildReport], Manifest]]
) -> None:
    train("c-parts", part_tokens=600)
    resident = room.resident()
    for number, part in enumerate(cut_parts(resident, 600)):
        asked = resident.index.text(part.sentences[1])
        question = Question("books", asked, Route.CARTRIDGE, sampling=SamplingParams(max_tokens=2))
        decision = await room.answerer.decide(question)
        assert decision.signals["cartridge_part"] == number


def test_what_a_part_was_made_from_lies_beside_it(
    room: Room, train: Callable[..., tuple[list[BuildReport], Manifest]]
) -> None:
    _, manifest = train("c-one")
    folder = place(room, "c-one")
    studied = load_studied(folder, manifest, 0)
    sentences = room.resident().sentences()

    assert len(studied) == manifest.metrics["conversations"]
    assert all(each.passage == sentences[each.conversation.sentence] for each in studied)
    assert manifest.parts[0].curves["measured_at"] == (1, 2)
    guard = Guard.of_metrics(manifest.metrics)
    assert guard is not None
    assert (guard.alpha, 0 <= guard.kept <= 1) == (0.05, True)
    assert -1 < guard.threshold < 1


def test_a_changed_corpus_turns_its_cartridge_stale_and_a_refresh_learns_the_change(
    room: Room,
    train: Callable[..., tuple[list[BuildReport], Manifest]],
    handbook: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, old = train("c-old")
    staleness = Staleness(room.layout, room.corpora, room.resident().catalog.recipe)
    assert staleness(room.shelf.get("books", "c-old")) == 0.0
    room.write("\n".join([*handbook.splitlines()[:40], "The jetty was rebuilt in oak last year."]))
    assert staleness(room.shelf.get("books", "c-old")) == 0.0  # not indexed yet
    room.index()

    record = room.shelf.get("books", "c-old")
    assert record.state is CartridgeState.STALE
    resident = room.resident()
    new = set(resident.windows) - old.windows
    gone = old.windows - set(resident.windows)
    assert gone
    assert staleness(record) == len(new | gone) / len(old.windows | new) > 0
    (part,) = cut_parts(resident, 100_000)
    changed = changed_sentences(resident, part, old.windows)
    assert {resident.window_of(i) for i in changed} == new
    _, manifest = train("c-new", base="c-old")

    made = {each.passage for each in load_studied(place(room, "c-new"), manifest, 0)}
    assert any("rebuilt in oak" in sentence for sentence in made)
    assert manifest.prefix_tokens == old.prefix_tokens
    ready = room.shelf.newest_ready("books", record.model_fingerprint)
    assert ready is not None
    assert ready.id == "c-new"


def test_a_refresh_of_a_text_that_shrank_below_its_prefix_is_a_build_afresh(
    room: Room, train: Callable[..., tuple[list[BuildReport], Manifest]]
) -> None:
    whole = replace(RECIPE, prefix_tokens=100_000)
    _, old = train("c-old", settings=whole)
    first = room.resident().sentences(room.resident().index.sentences_of_windows[0])
    room.write("\n".join(first))
    room.index()

    _, manifest = train("c-new", settings=whole, base="c-old")
    assert manifest.prefix_tokens < old.prefix_tokens
    assert room.shelf.get("books", "c-new").state is CartridgeState.READY


def test_a_refresh_from_a_damaged_cartridge_says_so(
    room: Room, train: Callable[..., tuple[list[BuildReport], Manifest]]
) -> None:
    train("c-old")
    (place(room, "c-old") / "part-000.jsonl").write_text("{}\n")
    with pytest.raises(ServiceError) as caught:
        train("c-new", base="c-old")
    assert caught.value.reason == "CARTRIDGE_DAMAGED"
    assert "part-000.jsonl" in caught.value.message


async def test_a_question_far_from_the_corpus_gets_no_cartridge(
    room: Room, train: Callable[..., tuple[list[BuildReport], Manifest]]
) -> None:
    train("c-one")
    room.shelf.mark_ready(
        "books", "c-one", prefix_tokens=24, query_offset=9, size_bytes=1,
        corpus_digest=room.corpora.get("books").content_digest,
        tensor_digest=room.shelf.get("books", "c-one").tensor_digest,
        metrics={"recovered": 1.0, "guard_threshold": 0.99, "guard_alpha": 0.05, "guard_kept": 1.0},
    )  # fmt: skip
    asked = Question(
        "books", "Who keeps the lamp?", Route.AUTO, sampling=SamplingParams(max_tokens=4)
    )
    decision = await room.answerer.decide(asked)

    assert decision.route is not Route.CARTRIDGE
    assert decision.fallbacks[0].reason == "CARTRIDGE_OFF_TOPIC"
    assert "0.99" in decision.fallbacks[0].message
    assert decision.signals["cartridge_guard"] == 0.99
    wished = await room.answerer.decide(replace(asked, route=Route.CARTRIDGE))
    assert wished.route is Route.CARTRIDGE


async def test_cartridges_in_memory_are_bounded_counted_and_dropped(
    room: Room, train: Callable[..., tuple[list[BuildReport], Manifest]]
) -> None:
    train("c-one")
    train("c-two")
    residents = Residents(room.library, room.thread, 1 << 24)
    one, two = (room.shelf.get("books", name) for name in ("c-one", "c-two"))

    assert (await residents.warm(one, 0)).hits == 1
    await residents.warm(two, 0)
    assert (await residents.warm(one, 0)).hits == 2
    assert [loaded.cartridge_id for loaded in await residents.all()] == ["c-two", "c-one"]
    bound = room.library._memory.cartridges
    bound.most = (await residents.all())[0].num_bytes
    bound.make_room(room.library._cartridges)
    assert [loaded.cartridge_id for loaded in await residents.all()] == ["c-one"]
    assert await residents.evict("books", "c-one") == 1
    assert await residents.evict("books", "c-one") == 0
    with pytest.raises(ServiceError, match="no part 7"):
        await residents.warm(one, 7)


async def test_answers_that_wait_and_whose_cartridges_are_evicted_are_what_each_is_alone(
    room: Room, train: Callable[..., tuple[list[BuildReport], Manifest]]
) -> None:
    train("c-one")
    train("c-two")
    residents = Residents(room.library, room.thread, 1 << 24)
    bound = room.library._memory.cartridges
    bound.most = 1.0  # one at once
    room.thread._most = 2

    async def text(number: int) -> str:
        route = (Route.CARTRIDGE, Route.CARTRIDGE, Route.CRAG)[number % 3]
        asked = Question(
            "books", f"Who keeps lamp {number}?", route, ("c-one", "c-two", "")[number % 3],
            sampling=SamplingParams(max_tokens=24, temperature=0.9, seed=number),
        )  # fmt: skip
        return "".join(e.text for e in await room.events(asked) if isinstance(e, Delta))

    async def evict() -> None:
        while True:
            for name in ("c-one", "c-two"):
                await residents.evict("books", name)
            await asyncio.sleep(0.01)

    alone = [await text(number) for number in range(9)]
    loads = room.library._memory.loads
    evicting = asyncio.create_task(evict())
    together = await asyncio.gather(*(text(number) for number in range(9)))
    evicting.cancel()
    assert together == alone
    assert len(set(alone)) > 5
    assert room.library._memory.loads > loads + 1


def test_a_request_is_read_with_its_defaults() -> None:
    plain = TrainRequest.of({"cartridge_id": "c", "prefix_tokens": 0, "max_steps": None})
    assert plain == TrainRequest("c", settings_for(Effort.FAST))
    full = TrainRequest.of(
        {
            "cartridge_id": "c", "effort": "thorough", "prefix_tokens": 9, "max_steps": 7,
            "conversations": 5, "part_tokens": 999, "base": "b", "time_budget_seconds": 1.5,
        }
    )  # fmt: skip
    assert (full.part_tokens, full.base) == (999, "b")
    assert full.settings.study.kinds == settings_for(Effort.THOROUGH).study.kinds
    settings = full.settings
    assert (settings.prefix_tokens, full.settings_of(3).seconds) == (9, 0.5)
    assert (settings.distil.steps, settings.study.conversations) == (7, 5)


def test_nothing_is_generated_for_quotations(
    room: Room,
    train: Callable[..., tuple[list[BuildReport], Manifest]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(self_study, "generate_text", lambda *args: pytest.fail("generated"))
    train("c-one")


def test_a_worker_that_lost_its_job_leaves_neither_a_record_nor_files(
    room: Room, model: LanguageModel, embedder: Embedder
) -> None:
    @contextmanager
    def lost() -> Iterator[None]:
        raise JobLostError("job")
        yield

    corpus = room.corpora.get("books")
    room.shelf.create(
        "books", "c-one", prefix_tokens=0, query_offset=0,
        model_fingerprint=model.fingerprint, corpus_digest=corpus.content_digest,
    )  # fmt: skip
    trainer = Trainer(model, embedder, room.layout, room.shelf)
    request = TrainRequest("c-one", RECIPE)
    with pytest.raises(JobLostError):
        list(trainer.train(room.layout.work / "job.1", corpus, room.resident(), request, lost))
    assert list(room.layout.cartridge("books", "c-one").iterdir()) == []
    assert room.shelf.get("books", "c-one").state is CartridgeState.TRAINING
