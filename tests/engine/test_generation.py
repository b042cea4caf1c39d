"""One batch, many requests: each gets what it would get alone."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from engine import generation
from engine.answer_row import FinishReason, GenerationRequest
from engine.generation import GenerationBatch, generate_text
from engine.model import LanguageModel
from engine.prompt_reading import PIECE, UNWATCHED
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


LONG = 5 * PIECE + 7  # more than is read at once where no answer is under way, too
assert LONG > UNWATCHED


def read_in_pieces(model: LanguageModel, name: str = "long", most: int = 6) -> GenerationRequest:
    prompt = tuple(model.encode("The keeper of the harbor walks to the lamp. " * LONG)[:LONG])
    return GenerationRequest(name, prompt, None, SamplingParams(max_tokens=most))


def streaming(model: LanguageModel) -> GenerationBatch:
    """A batch with an answer under way."""
    batch = GenerationBatch(model)
    batch.add([GenerationRequest("stream", (5, 6, 7), None, SamplingParams(max_tokens=40))])
    batch.step()
    return batch


def test_a_long_prompt_does_not_stall_the_answers_under_way(model: LanguageModel) -> None:
    batch = streaming(model)
    widths: list[int] = []

    def see(_: Any, args: Any, kwargs: Any) -> None:
        widths.append(kwargs["input_ids"].numel())

    hook = model.network.register_forward_pre_hook(see, with_kwargs=True)
    batch.add([read_in_pieces(model)])
    steps = [[piece.request_id for piece in batch.step()] for _ in range(6)]
    hook.remove()
    assert steps == [["stream"]] * 5 + [["stream", "long"]]
    assert max(widths) == PIECE
    assert sum(widths) == LONG + 5 * 1 + 2  # every token was read once


def test_a_prompt_read_in_pieces_is_answered_as_if_read_at_once(
    family_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = read_in_pieces(family_model, most=24)
    prefix = family_model.prefill(family_model.encode("The island is long. " * 9))
    behind = GenerationRequest("behind", asked.prompt[:700], prefix, asked.params)
    pieces = alone(family_model, [asked, behind])
    together = generate_text(family_model, [asked, behind])
    for name in ("PIECE", "UNWATCHED"):
        monkeypatch.setattr(generation, name, 10**6)
    assert pieces == together == alone(family_model, [asked, behind])


def test_a_short_prompt_does_not_wait_for_a_long_one(model: LanguageModel) -> None:
    batch = streaming(model)
    batch.add([read_in_pieces(model)])
    batch.step()
    batch.add([GenerationRequest("short", (5, 6, 7), None, SamplingParams(max_tokens=2))])
    seen = [[piece.request_id for piece in batch.step()] for _ in range(2)]
    assert seen[-1] == ["stream", "short"]


def test_a_prompt_cancelled_amid_its_reading_gives_its_memory_back(model: LanguageModel) -> None:
    batch = GenerationBatch(model)
    batch.add([read_in_pieces(model), *(row(model, name) for name in "abc")])
    texts = dict.fromkeys("abc", "")
    assert len(batch) == 4
    for piece in [*batch.step(), *batch.step()]:  # a piece of each
        texts[piece.request_id] += piece.text
    assert batch.cancel("long")
    for name, text in drain(batch):
        texts[name] += text
    assert texts == {name: generate_text(model, [row(model, name)])[0] for name in "abc"}
    batch.add([read_in_pieces(model)])
    batch.step()
    assert batch.num_bytes > 0
    assert batch.cancel("long")
    assert (len(batch), batch.num_bytes) == (0, 0)


def test_one_of_several_cancelled_amid_their_reading_leaves_the_others_whole(
    model: LanguageModel,
) -> None:
    batch = streaming(model)
    asked = [row(model, name, length) for name, length in (("a", 200), ("b", 150), ("c", 190))]
    batch.add(asked)
    assert [piece.request_id for piece in batch.step()] == ["stream"]
    assert batch.cancel("b")
    texts = dict.fromkeys(("stream", "a", "c"), "")
    for name, text in drain(batch):
        texts[name] += text
    for one in (asked[0], asked[2]):
        assert texts[one.id] == generate_text(model, [one])[0]


def row(model: LanguageModel, name: str, length: int = 9) -> GenerationRequest:
    prompt = model.encode(f"The {name} of the harbor looks at the tide. " * length)[:length]
    params = SamplingParams(max_tokens=8, temperature=1.0, seed=ord(name))
    return GenerationRequest(name, tuple(prompt), None, params)


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
    batch.add([GenerationRequest("one", prompt, prefix, SamplingParams(max_tokens=3))])
    batch.step()
    one = batch.num_bytes
    assert len(prompt) * a_token <= one < (len(prompt) + 2 * 64) * a_token
    batch.add([GenerationRequest("two", prompt, None, SamplingParams(max_tokens=3))])
    batch.step()
    assert batch.num_bytes >= 2 * len(prompt) * a_token
    while len(batch):
        batch.step()
    assert batch.num_bytes == 0
