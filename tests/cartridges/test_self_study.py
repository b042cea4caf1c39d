"""Every sentence is asked about before any is asked about twice; a study goes on where it stopped."""

from collections import Counter
from collections.abc import Sequence

import pytest
from lesson_room import SENTENCES

from cartridges import self_study
from cartridges.seeds import KINDS, load_seeds
from cartridges.self_study import (
    StudySettings,
    choose_sentences,
    converse,
    plan_study,
    quotations,
)
from engine.answer_row import GenerationRequest
from engine.model import LanguageModel

SETTINGS = StudySettings(conversations=20, batch=4, answer_tokens=6)
WHOLE = range(len(SENTENCES))


@pytest.mark.parametrize("count", [0, 1, 7, 10, 25, 100])
def test_sentences_are_chosen_evenly(count: int) -> None:
    chosen = choose_sentences(SENTENCES, count, seed=3)
    times = Counter(chosen)

    assert len(chosen) == count
    assert {times[i] for i in range(len(SENTENCES))} <= {count // 10, count // 10 + 1}
    assert chosen == choose_sentences(SENTENCES, count, seed=3)
    assert max(Counter(chosen[:10]).values(), default=1) == 1


def test_sentences_too_short_or_too_long_are_chosen_only_where_there_are_no_others() -> None:
    short, long = "Too short.", "word " * 90
    assert set(choose_sentences([short, SENTENCES[0], long, SENTENCES[1]], 8, 0)) == {1, 3}
    assert set(choose_sentences([short, long], 8, 0)) == {0, 1}


def test_another_seed_is_another_order() -> None:
    assert choose_sentences(SENTENCES, 10, 1) != choose_sentences(SENTENCES, 10, 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[GenerationRequest]:
    """A model that answers every request soundly; what it was asked is kept."""
    seen: list[GenerationRequest] = []

    def answer(model: LanguageModel, requests: Sequence[GenerationRequest], most: int) -> list[str]:
        seen.extend(requests)
        return [f" Who is it, {r.id.translate(LETTERS)}?\nAnswer: It is he." for r in requests]

    monkeypatch.setattr(self_study, "generate_text", answer)
    return seen


LETTERS = str.maketrans("0123456789", "abcdefghij")


def test_a_sentence_is_asked_greedily_once_and_sampled_after_that(
    model: LanguageModel, asked: list[GenerationRequest]
) -> None:
    plan = plan_study(SENTENCES, SETTINGS, WHOLE)
    batches = list(converse(model, SENTENCES, plan, SETTINGS))

    assert [len(batch) for batch in batches] == [4] * 5
    chosen = choose_sentences(SENTENCES, 20, 0)
    assert [c.sentence for batch in batches for c in batch] == chosen
    assert [request.params.temperature > 0 for request in asked] == [False] * 10 + [True] * 10
    assert len({request.params.seed for request in asked}) == 20


@pytest.mark.parametrize("done", [1, 3, 5])
def test_a_study_that_goes_on_asks_what_an_unbroken_one_asks(
    model: LanguageModel, asked: list[GenerationRequest], done: int
) -> None:
    plan = plan_study(SENTENCES, SETTINGS, WHOLE)
    list(converse(model, SENTENCES, plan, SETTINGS))
    whole = [(request.prompt, request.params) for request in asked]
    asked.clear()

    list(converse(model, SENTENCES, plan[done:], SETTINGS))

    assert [(request.prompt, request.params) for request in asked] == whole[4 * done :]


def test_a_request_shows_its_sentence_behind_the_worked_examples(
    model: LanguageModel, asked: list[GenerationRequest]
) -> None:
    plan = plan_study(SENTENCES, StudySettings(conversations=2, batch=1), [5])
    list(converse(model, SENTENCES, plan[:1], SETTINGS))
    (request,) = asked
    (seed,) = load_seeds(["question"])

    assert request.prefix is not None
    assert request.prefix.length == len(model.encode(seed.few_shot))
    assert model.decode(request.prompt) == f"Passage: {SENTENCES[5]}\nQuestion:"


def test_a_plan_asks_all_its_kinds_alike_and_a_batch_asks_one(
    model: LanguageModel, asked: list[GenerationRequest]
) -> None:
    settings = StudySettings(conversations=52, kinds=KINDS, batch=8)
    plan = plan_study(SENTENCES, settings, WHOLE)
    kinds = Counter(topic.seed.name for batch in plan for topic in batch)

    assert kinds == dict(zip(KINDS, (11, 11, 10, 10, 10), strict=True))
    assert all(len({topic.seed.name for topic in batch}) == 1 for batch in plan)
    assert sorted(topic.number for batch in plan for topic in batch) == list(range(52))
    list(converse(model, SENTENCES, plan, settings))
    assert [request.id for request in asked] == [str(i) for i in range(52)]
    for topic, request in zip((t for batch in plan for t in batch), asked, strict=True):
        passage = " ".join(SENTENCES[topic.sentence : topic.sentence + topic.seed.sentences])
        assert model.decode(request.prompt) == f"Passage: {passage}\n{topic.seed.asks}:"


def test_a_study_of_some_sentences_asks_about_no_others() -> None:
    plan = plan_study(SENTENCES, SETTINGS, [2, 3, 7])
    assert {topic.sentence for batch in plan for topic in batch} == {2, 3, 7}
    assert plan_study(SENTENCES, SETTINGS, []) == []
    assert plan_study(SENTENCES, StudySettings(kinds=()), WHOLE) == []


def test_every_seed_shows_worked_examples_and_can_be_told() -> None:
    for seed in load_seeds():
        assert seed.few_shot.count("\nAnswer: ") == len(seed.examples) >= 3
        assert seed.few_shot.endswith("\n\n")
        assert seed.instruction.endswith(".")
        assert 1 <= seed.sentences <= 4
    assert tuple(seed.name for seed in load_seeds()) == KINDS
    with pytest.raises(ValueError, match="no seed is called"):
        StudySettings(kinds=("gossip",))


def test_babble_is_left_out(model: LanguageModel) -> None:
    """A random model writes nothing that parses, and that is no error."""
    plan = plan_study(SENTENCES, SETTINGS, WHOLE)
    assert list(converse(model, SENTENCES, plan[:2], SETTINGS)) == [[], []]


def test_quotations_quote_each_sentence_in_every_form_at_most_once() -> None:
    texts = [*SENTENCES, "Short one."]
    quoted = quotations(texts, 100, 0, range(11))
    assert sorted(c.sentence for c in quoted) == sorted([*range(10)] * 2)
    assert {c.answer for c in quoted} == set(SENTENCES)
    assert Counter(c.kind for c in quoted) == {"recitation": 10, "mention": 10}
    first = quotations(SENTENCES, 4, 0, WHOLE)
    assert [c.kind for c in first] == ["recitation"] * 4
    assert {c.sentence for c in quotations(SENTENCES, 9, 0, [1, 4])} == {1, 4}


@pytest.mark.parametrize("count", [-1, 1])
def test_a_study_of_one_conversation_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="conversations"):
        StudySettings(conversations=count)


def test_an_unset_count_asks_about_every_sentence_within_bounds() -> None:
    counts = [StudySettings().count_for(n) for n in (1, 100, 10_000)]
    assert counts == [32, 100, 256]
    assert StudySettings(a_sentence=2.0).count_for(100) == 200
    assert StudySettings(conversations=7).count_for(10_000) == 7
