"""What is guessed ahead changes when tokens come, and never which."""

from collections.abc import Callable

import pytest
import torch

from engine import generation
from engine.answer_row import AnswerRow, FinishReason, GenerationRequest
from engine.drafting import PassCost, PromptLookup, length_that_pays
from engine.generation import GenerationBatch
from engine.model import LanguageModel
from engine.prefix import growing_cache
from engine.row_cache import RowCache
from engine.sampling import SamplingParams

TEXTS = ("The lamp", "A bicycle on the ferry costs", "Who", "The cook sings in the choir and")
Answers = dict[str, list[int]]


@pytest.fixture(params=[0.0, 1.0], ids=["greedy", "drawn"])
def requests(
    family_model: LanguageModel, request: pytest.FixtureRequest
) -> list[GenerationRequest]:
    """Prompts of four lengths behind prefixes of different lengths and none."""
    contexts = ("The island is long.", "", "The keeper has a red coat and two dogs.", "Bells ring.")
    made = []
    for i, (context, text) in enumerate(zip(contexts, TEXTS, strict=True)):
        prefix = family_model.prefill(family_model.encode(context)) if context else None
        params = SamplingParams(max_tokens=20 + 5 * i, temperature=request.param, seed=i)
        prompt = tuple(family_model.encode(text))
        made.append(GenerationRequest(str(i), prompt, prefix, params))
    return made


def answers(model: LanguageModel, requests: list[GenerationRequest]) -> Answers:
    told: Answers = {request.id: [] for request in requests}
    batch = GenerationBatch(model)
    batch.add(requests)
    while len(batch):
        for piece in batch.step():
            told[piece.request_id].append(piece.token)
    return told


@pytest.fixture
def guess(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, int], list[int]]], None]:
    """Sets what is guessed for a request, by its id and how many tokens it has answered."""

    def always(guessing: Callable[[str, int], list[int]]) -> None:
        def guess(row: AnswerRow, _: int) -> list[int]:
            answered = len(row.lookup) - len(row.request.prompt)
            return guessing(row.request.id, answered)[: row.request.params.max_tokens - answered]

        monkeypatch.setattr(AnswerRow, "guess", guess)
        monkeypatch.setattr(generation, "length_that_pays", lambda *_: 5)

    return always


@pytest.fixture
def widths(family_model: LanguageModel) -> list[int]:
    """The tokens of each row in every pass from now on."""
    seen: list[int] = []
    family_model.network.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    return seen


def test_right_guesses_give_the_same_answer_in_fewer_passes(
    family_model: LanguageModel,
    requests: list[GenerationRequest],
    guess: Callable[..., None],
    widths: list[int],
) -> None:
    guess(lambda *_: [])
    plain = answers(family_model, requests)
    one_by_one = len(widths)
    guess(lambda name, answered: plain[name][answered : answered + 5])
    assert answers(family_model, requests) == plain
    assert (len(widths) - one_by_one) * 3 < one_by_one


@pytest.mark.parametrize("wrong", [1, 2, 3])
def test_wrong_guesses_leave_no_trace_in_the_answer(
    family_model: LanguageModel,
    requests: list[GenerationRequest],
    guess: Callable[..., None],
    wrong: int,
) -> None:
    guess(lambda *_: [])
    plain = answers(family_model, requests)

    def partly(name: str, answered: int) -> list[int]:
        right = plain[name][answered : answered + 1 + (int(name) + answered) % 5]
        return [token + (place % wrong == wrong - 1) for place, token in enumerate(right)]

    guess(partly)
    assert answers(family_model, requests) == plain


def test_requests_join_and_leave_amid_guesses_and_change_nobody(
    family_model: LanguageModel, requests: list[GenerationRequest], guess: Callable[..., None]
) -> None:
    guess(lambda *_: [])
    plain = answers(family_model, requests)
    guess(lambda name, answered: [*plain[name][answered : answered + 1 + int(name)], 1])
    told: Answers = {name: [] for name in "0123"}
    batch, waiting = GenerationBatch(family_model), list(requests)
    while waiting or len(batch):
        if waiting:
            batch.add([waiting.pop()])
        for piece in batch.step():
            told[piece.request_id].append(piece.token)
        if len(told["1"]) > 8:
            batch.cancel("1")
    assert {name: told[name] for name in "023"} == {name: plain[name] for name in "023"}
    assert told["1"] == plain["1"][: len(told["1"])]


def test_an_answer_ends_amid_right_guesses_where_it_would_have_ended(
    model: LanguageModel, guess: Callable[..., None]
) -> None:
    request = GenerationRequest("0", (5, 6, 7), None, SamplingParams(max_tokens=9))
    guess(lambda *_: [])
    plain = answers(model, [request])["0"]
    guess(lambda _, answered: [*plain[answered:], 1, 1, 1, 1])
    batch = GenerationBatch(model)
    batch.add([request])
    pieces = [piece for _ in range(9) for piece in batch.step()]
    assert [piece.token for piece in pieces] == plain
    assert [piece.finish for piece in pieces] == [None] * 8 + [FinishReason.LENGTH]

    stop = "".join(piece.text for piece in pieces)[3:6]
    stopping = GenerationRequest("0", (5, 6, 7), None, SamplingParams(max_tokens=9, stop=(stop,)))
    batch = GenerationBatch(model)
    batch.add([stopping])
    told = [piece for _ in range(9) for piece in batch.step()]
    assert "".join(piece.text for piece in told) == "".join(p.text for p in pieces)[:3]
    assert told[-1].finish is FinishReason.STOP


def test_columns_of_wrong_guesses_do_not_pile_up(
    model: LanguageModel, guess: Callable[..., None]
) -> None:
    params = SamplingParams(max_tokens=400)
    requests = [GenerationRequest(name, (5, 6, 7), None, params) for name in "ab"]
    guess(lambda *_: [])
    plain = answers(model, requests)
    guess(lambda name, answered: plain[name][answered : answered + 5] if name == "a" else [])
    batch = GenerationBatch(model)
    batch.add(requests)
    most, told = 0, Answers(a=[], b=[])
    while len(batch):
        for piece in batch.step():
            told[piece.request_id].append(piece.token)
        if batch._held is not None:
            longest = 3 + max(map(len, told.values()))
            most = max(most, batch._held.mask.shape[1] - longest * 5 // 4)
    assert told == plain
    assert 0 < most < 80


def test_a_lookup_guesses_what_followed_the_longest_known_run() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 9, 2, 3, 7, 8])
    for token in (2, 3):
        lookup.push(token)
    assert lookup.guess(3) == [4, 5, 9]  # the first place of the run 2 3
    lookup = PromptLookup([1, 2, 3, 4, 5, 9, 2, 3, 7, 8])
    for token in (9, 2, 3):
        lookup.push(token)
    assert lookup.guess(9) == [7, 8, 9, 2, 3]  # the run 9 2 3 is longer
    lookup.push(6)
    assert lookup.guess(3) == []
    assert PromptLookup([4]).guess(3) == []


def test_guesses_that_prove_wrong_are_trusted_less() -> None:
    lookup = PromptLookup([])
    before = lookup.hits
    lookup.learn(right=0, guessed=0)
    assert lookup.hits == before
    for _ in range(20):
        lookup.learn(right=0, guessed=5)
    assert lookup.hits < 0.1
    for _ in range(20):
        lookup.learn(right=5, guessed=5)
    assert lookup.hits > 0.9


def test_the_cost_of_a_pass_is_found_from_passes_of_different_sizes() -> None:
    cost = PassCost()
    for step in range(60):
        tokens = 1 + step % 7
        cost.learn(tokens, 0.002 * (tokens + 9.0))
    assert cost.overhead == pytest.approx(9.0, rel=0.02)
    for _ in range(200):  # passes of one size tell nothing new
        cost.learn(4, 0.002 * 13)
    assert cost.overhead == pytest.approx(9.0, rel=0.1)


@pytest.mark.parametrize(
    ("guesses", "overhead", "least", "most"),
    [
        ([(8, 0.95)], 20.0, 8, 8),  # a dear pass, good guesses
        ([(8, 0.95)], 0.0, 0, 0),  # tokens cost as much as passes
        ([(8, 0.05)], 20.0, 0, 1),  # guesses are wrong
        ([(0, 0.95)], 20.0, 0, 0),  # there is nothing to guess
        ([(8, 0.9)] + [(0, 0.9)] * 15, 20.0, 0, 0),  # padding of fifteen rows
        ([(8, 0.5)] * 2, 16.0, 1, 3),
    ],
)
def test_as_much_is_guessed_as_pays(
    guesses: list[tuple[int, float]], overhead: float, least: int, most: int
) -> None:
    assert least <= length_that_pays(guesses, overhead) <= most


def test_rows_are_packed_in_the_order_of_their_tokens() -> None:
    keys = torch.arange(10.0).reshape(1, 2, 1, 5, 1)
    mask = torch.tensor([[0, 1, 1, 0, 1], [1, 0, 1, 0, 0]])
    held = RowCache(growing_cache(keys, -keys), mask)
    held.keep([1, 0])
    assert held.mask.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert held.cache.layers[0].keys[..., 0].tolist()[0][0][1:] == [5.0, 7.0]
    assert held.cache.layers[0].values[..., 0].tolist()[1] == [[-1.0, -2.0, -4.0]]
