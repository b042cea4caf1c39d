"""One batch, many requests: each gets what it would get alone."""

from collections.abc import Iterator

import pytest
import torch

from engine.generation import FinishReason, GenerationBatch, GenerationRequest, generate_text
from engine.model import LanguageModel
from engine.sampling import SamplingParams

TEXTS = ("The lamp", "A bicycle on the ferry costs", "Who", "The cook sings in the choir and")


@pytest.fixture
def requests(family_model: LanguageModel) -> list[GenerationRequest]:
    """Prompts of four lengths behind three prefixes of different lengths and none."""
    contexts = ("The island is long.", "", "The keeper has a red coat and two dogs.", "Bells ring.")
    made = []
    for i, (context, text) in enumerate(zip(contexts, TEXTS, strict=True)):
        prefix = family_model.prefill(family_model.encode(context)) if context else None
        prompt = tuple(family_model.encode(text))
        made.append(GenerationRequest(str(i), prompt, prefix, SamplingParams(max_tokens=8 + i)))
    return made


def alone(model: LanguageModel, requests: list[GenerationRequest]) -> list[str]:
    return [generate_text(model, [request])[0] for request in requests]


def test_a_batch_with_different_prefixes_gives_what_each_gives_alone(
    family_model: LanguageModel, requests: list[GenerationRequest]
) -> None:
    assert generate_text(family_model, requests) == alone(family_model, requests)


def test_requests_that_join_late_change_nobody(
    family_model: LanguageModel, requests: list[GenerationRequest]
) -> None:
    batch = GenerationBatch(family_model)
    texts = dict.fromkeys("0123", "")
    waiting = list(requests)
    while waiting or len(batch):
        if waiting:
            batch.add([waiting.pop(0)])
        for piece in batch.step():
            texts[piece.request_id] += piece.text

    assert [texts[i] for i in "0123"] == alone(family_model, requests)


def test_a_cancelled_request_leaves_and_the_others_go_on(
    family_model: LanguageModel, requests: list[GenerationRequest]
) -> None:
    batch = GenerationBatch(family_model)
    batch.add(requests)
    texts = dict.fromkeys("0123", "")
    for piece in batch.step():
        texts[piece.request_id] += piece.text

    assert batch.cancel("2")
    assert not batch.cancel("2")
    for piece in drain(batch):
        texts[piece[0]] += piece[1]

    expected = alone(family_model, requests)
    assert [texts[i] for i in "013"] == [expected[0], expected[1], expected[3]]


def drain(batch: GenerationBatch) -> Iterator[tuple[str, str]]:
    while len(batch):
        for piece in batch.step():
            yield piece.request_id, piece.text


def test_an_empty_batch_steps_to_nothing(model: LanguageModel) -> None:
    batch = GenerationBatch(model)
    batch.add([GenerationRequest("a", (5, 6, 7), None, SamplingParams(max_tokens=1))])

    first = batch.step()

    assert first[0].finish is FinishReason.LENGTH
    assert batch.step() == []
    batch.add([GenerationRequest("b", (5, 6, 7), None, SamplingParams(max_tokens=1))])
    assert batch.step()[0].request_id == "b"


def test_temperature_zero_ignores_the_seed(model: LanguageModel) -> None:
    prompt = tuple(model.encode("The lamp"))
    answers = {
        generate_text(
            model, [GenerationRequest("a", prompt, None, SamplingParams(max_tokens=10, seed=seed))]
        )[0]
        for seed in (1, 42)
    }
    assert len(answers) == 1


def test_equal_seeds_sample_equal_answers_even_in_company(model: LanguageModel) -> None:
    prompt = tuple(model.encode("The lamp"))

    def sampled(seed: int, name: str) -> GenerationRequest:
        params = SamplingParams(max_tokens=12, temperature=1.0, seed=seed)
        return GenerationRequest(name, prompt, None, params)

    together = generate_text(model, [sampled(7, "a"), sampled(8, "b")])
    apart = [generate_text(model, [sampled(seed, "x")])[0] for seed in (7, 8)]

    assert together == apart
    assert together[0] != together[1]


def test_top_p_leaves_out_what_lies_outside_the_nucleus() -> None:
    from engine.sampling import choose_token, generator_of

    logits = torch.tensor([3.0, 2.9, -2.0, -2.0])
    params = SamplingParams(temperature=1.0, top_p=0.8, seed=3)
    chance = generator_of(params)
    drawn = {choose_token(logits, params, chance) for _ in range(200)}
    assert drawn == {0, 1}


@pytest.mark.parametrize(
    ("field", "value"), [("max_tokens", 0), ("temperature", -1.0), ("top_p", 0.0), ("top_p", 1.5)]
)
def test_settings_out_of_range_name_their_field(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        SamplingParams(**{field: value})  # type: ignore[arg-type]


def test_a_batch_tells_the_bytes_of_its_rows_and_not_of_shared_prefixes(
    model: LanguageModel,
) -> None:
    shape = model.geometry
    a_token = 2 * shape.layers * shape.kv_heads * shape.head_dim * 4
    prompt = tuple(model.encode("The lamp of the harbor"))
    prefix = model.prefill(model.encode("The island is long, and so is its story. " * 20))
    batch = GenerationBatch(model)
    assert batch.num_bytes == 0
    batch.add([GenerationRequest("one", prompt, prefix, SamplingParams(max_tokens=2))])
    one = batch.num_bytes
    assert len(prompt) * a_token <= one < (len(prompt) + 2 * 64) * a_token
    batch.add([GenerationRequest("two", prompt, None, SamplingParams(max_tokens=2))])
    assert batch.num_bytes >= 2 * len(prompt) * a_token
    while len(batch):
        batch.step()
    assert batch.num_bytes == 0
