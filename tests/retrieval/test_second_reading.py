"""Passages are judged by how likely they make the question, in the model's own eyes."""

from collections.abc import Generator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.answer_row import GenerationRequest
from engine.generation import generate_text
from engine.model import LanguageModel
from engine.prompts import Prompter
from engine.sampling import SamplingParams
from retrieval import second_reading
from retrieval.draft import TOKENS, Drafter
from retrieval.lines import Line
from retrieval.second_reading import SecondReading, passages_of

QUESTION = "When is the lamp lit?"
TEXTS = (
    "The lamp is lit at dusk.",
    "Gulls nest on the north wall, and nobody minds.",
    "Salt comes by ferry.",
    "A bell rings twice when the rope is cut.",
)


def lines(*numbers: int) -> list[Line]:
    return [Line(i, TEXTS[i % len(TEXTS)]) for i in numbers]


def scores_of(steps: Generator[None, None, NDArray[np.float32]]) -> NDArray[np.float32]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: NDArray[np.float32] = end.value
            return found


@torch.inference_mode()
def plain_nats(model: LanguageModel, texts: list[str]) -> float:
    """The question's log-likelihood behind a list of texts, by one plain forward pass."""
    prompter = SecondReading(model).prompter
    asked = prompter.asked_ids(QUESTION)
    ids = [*prompter.context_ids(texts), *prompter.asking_ids(), *asked]
    logits = model.network(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    first = len(ids) - len(asked)
    return float(sum(logits[first + i - 1, token] for i, token in enumerate(asked)))


def test_a_passage_counts_by_the_likelihood_of_the_question_behind_it(
    family_model: LanguageModel,
) -> None:
    ranked = lines(0, 10, 21, 32)  # apart from one another: each is a passage
    first = np.array([4.0, 3.0, 2.0, 1.0], np.float32)
    nats = np.array([plain_nats(family_model, [line.text]) for line in ranked])
    second = SecondReading(family_model, weight=0.5)

    found = scores_of(second.begin(QUESTION).steps(ranked, first, 10_000))

    np.testing.assert_allclose(found, first + 0.5 * (nats - nats.max()), atol=2e-3)
    assert np.ptp(nats) > 0.1


def test_neighbours_are_read_together_and_share_their_likelihood(model: LanguageModel) -> None:
    ranked = [Line(1, TEXTS[1]), Line(0, TEXTS[0]), Line(9, TEXTS[2])]
    nats = [plain_nats(model, [TEXTS[0], TEXTS[1]]), plain_nats(model, [TEXTS[2]])]
    found = scores_of(
        SecondReading(model, 1.0).begin(QUESTION).steps(ranked, np.zeros(3, np.float32), 10_000)
    )
    expected = np.array([nats[0], nats[0], nats[1]]) - max(nats)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_what_is_not_read_counts_as_the_worst_of_what_is(model: LanguageModel) -> None:
    second = SecondReading(model, 1.0)
    ranked = lines(0, 10, 21)
    behind = len([*second.prompter.asking_ids(), *second.prompter.asked_ids(QUESTION)])
    room = second.cost(ranked[0]) + second.cost(ranked[1]) + 2 * behind
    found = scores_of(second.begin(QUESTION).steps(ranked, np.zeros(3, np.float32), room))
    assert found[2] == pytest.approx(min(found[0], found[1]))


def test_a_passage_is_read_once_however_often_it_is_asked_about(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    plain = second_reading.answer_nll
    monkeypatch.setattr(
        second_reading, "answer_nll", lambda m, pack, p: read.append(len(pack)) or plain(m, pack, p)
    )
    rereading = SecondReading(model).begin(QUESTION)
    once = scores_of(rereading.steps(lines(0, 10), np.zeros(2, np.float32), 10_000))
    again = scores_of(rereading.steps(lines(0, 10, 21), np.zeros(3, np.float32), 10_000))
    assert sum(read) == 3
    np.testing.assert_allclose(once[0] - once[1], again[0] - again[1], atol=1e-6)


def test_passages_are_runs_of_ranked_neighbours_within_their_bounds() -> None:
    ranked = [Line(i, "x") for i in (10, 11, 30, 9, 8, 7, 6, 13)]
    ten = [10] * len(ranked)
    assert passages_of(ranked, ten, 0, 1000, 1000) == [(5, 4, 3, 0, 1), (2,), (6,), (7,)]
    assert passages_of(ranked, ten, 0, 1000, 20)[0] == (0, 1)
    assert passages_of(ranked, ten, 0, 30, 1000) == [(3, 0, 1)]
    assert passages_of(ranked, ten, 20, 90, 1000) == [(5, 4, 3, 0, 1)]


def test_a_passage_ends_with_its_document() -> None:
    ranked = [Line(4, "x", document=0), Line(5, "x", document=1)]
    assert passages_of(ranked, [1, 1], 0, 100) == [(0,), (1,)]


def test_a_line_that_fits_nowhere_does_not_hide_the_others() -> None:
    ranked = [Line(0, "x"), Line(9, "y")]
    assert passages_of(ranked, [500, 5], 0, 100) == [(1,)]
    assert passages_of(ranked, [500, 500], 0, 100) == []


def test_nothing_that_fits_changes_no_score(model: LanguageModel) -> None:
    first = np.array([2.0, 1.0], np.float32)
    found = scores_of(SecondReading(model).begin(QUESTION).steps(lines(0, 10), first, 1))
    np.testing.assert_array_equal(found, first)


def test_a_draft_is_the_short_greedy_answer_and_pauses(model: LanguageModel) -> None:
    drafter, prompter = Drafter(model), Prompter(model)
    steps, pauses = drafter.steps(TEXTS, QUESTION), 0
    prompt = (*prompter.context_ids(TEXTS), *prompter.question_ids(QUESTION))
    request = GenerationRequest("plain", prompt, None, SamplingParams(TOKENS))
    (plain,) = generate_text(model, [request])
    while True:
        try:
            next(steps)
            pauses += 1
        except StopIteration as end:
            draft = end.value
            break

    assert draft == plain.strip()
    assert 1 <= pauses <= TOKENS
