"""Every sentence is asked about before any is asked about twice; a study goes on where it stopped."""

from collections import Counter
from collections.abc import Sequence

import pytest
from lesson_room import SENTENCES

from cartridges import self_study
from cartridges.self_study import (
    StudySettings,
    choose_sentences,
    converse,
    few_shot_prompt,
    recitations,
)
from engine.generation import GenerationRequest
from engine.model import LanguageModel

SETTINGS = StudySettings(batch=4, answer_tokens=6)


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
    chosen = choose_sentences(SENTENCES, 20, 0)
    batches = list(converse(model, SENTENCES, chosen, SETTINGS))

    assert [len(batch) for batch in batches] == [4] * 5
    assert [c.sentence for batch in batches for c in batch] == chosen
    assert [request.params.temperature > 0 for request in asked] == [False] * 10 + [True] * 10
    assert len({request.params.seed for request in asked}) == 20


@pytest.mark.parametrize("done", [1, 3, 5])
def test_a_study_that_goes_on_asks_what_an_unbroken_one_asks(
    model: LanguageModel, asked: list[GenerationRequest], done: int
) -> None:
    chosen = choose_sentences(SENTENCES, 20, 0)
    list(converse(model, SENTENCES, chosen, SETTINGS))
    whole = [(request.prompt, request.params) for request in asked]
    asked.clear()

    list(converse(model, SENTENCES, chosen, SETTINGS, done))

    assert [(request.prompt, request.params) for request in asked] == whole[4 * done :]


def test_a_request_shows_its_sentence_behind_the_worked_examples(
    model: LanguageModel, asked: list[GenerationRequest]
) -> None:
    list(converse(model, SENTENCES, [5], SETTINGS))
    (request,) = asked

    assert request.prefix is not None
    assert request.prefix.length == len(model.encode(few_shot_prompt()))
    assert model.decode(request.prompt) == f"Sentence: {SENTENCES[5]}\nQuestion:"
    assert few_shot_prompt().count("\nAnswer: ") >= 3


def test_babble_is_left_out(model: LanguageModel) -> None:
    """A random model writes nothing that parses, and that is no error."""
    assert list(converse(model, SENTENCES, [0, 1, 2, 3, 4], SETTINGS)) == [[], []]


def test_recitations_quote_each_sentence_at_most_once() -> None:
    quoted = recitations([*SENTENCES, "Short one."], 100, seed=0)
    assert sorted(c.sentence for c in quoted) == list(range(10))
    assert {c.answer for c in quoted} == set(SENTENCES)
    assert len(recitations(SENTENCES, 4, seed=0)) == 4


@pytest.mark.parametrize("count", [-1, 1])
def test_a_study_of_one_conversation_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="conversations"):
        StudySettings(conversations=count)


def test_an_unset_count_asks_about_every_sentence_within_bounds() -> None:
    counts = [StudySettings().count_for(n) for n in (1, 100, 10_000)]
    assert counts == [32, 100, 256]
    assert StudySettings(conversations=7).count_for(10_000) == 7
