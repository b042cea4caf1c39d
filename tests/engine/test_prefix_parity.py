"""A prefix continued gives what the whole prompt gives: the foundation of every route."""

from pathlib import Path

import pytest
import torch

from engine.answer_row import GenerationRequest
from engine.errors import PrefixMismatchError
from engine.generation import generate_text
from engine.model import LanguageModel
from engine.prefix import KVPrefix, growing_cache, load_prefix, save_prefix
from engine.sampling import SamplingParams
from engine.scoring import Turn, answer_logits

CONTEXT = "The ferry leaves at dawn. The lamp is green. The keeper has a red coat."
QUESTION = "When does the ferry leave?"


def ids_of(model: LanguageModel, text: str) -> tuple[int, ...]:
    return tuple(model.encode(text))


@torch.inference_mode()
def last_logits(model: LanguageModel, ids: tuple[int, ...]) -> torch.Tensor:
    logits: torch.Tensor = model.network(input_ids=torch.tensor([ids])).logits[0]
    return logits


def test_prefix_then_question_has_the_logits_of_the_whole_prompt(
    family_model: LanguageModel,
) -> None:
    model = family_model
    context, question, answer = (ids_of(model, text) for text in (CONTEXT, QUESTION, "At dawn."))
    prefix = model.prefill(context)

    split = answer_logits(model, [Turn(question, answer)], prefix)

    whole = last_logits(model, context + question + answer)
    rows = whole[len(context) + len(question) - 1 : -1]
    torch.testing.assert_close(split, rows, atol=1e-4, rtol=1e-4)


def test_a_prefix_read_in_two_parts_equals_one_read_at_once(family_model: LanguageModel) -> None:
    ids = ids_of(family_model, CONTEXT)
    first = family_model.prefill(ids[:9])

    joined = family_model.prefill(ids[9:], past=first)

    whole = family_model.prefill(ids)
    assert joined.query_offset == whole.query_offset == len(ids)
    torch.testing.assert_close(joined.keys, whole.keys, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(joined.values, whole.values, atol=1e-4, rtol=1e-4)


def test_packed_turns_do_not_see_each_other(family_model: LanguageModel) -> None:
    model = family_model
    prefix = model.prefill(ids_of(model, CONTEXT))
    turns = [
        Turn(ids_of(model, QUESTION), ids_of(model, "At dawn.")),
        Turn(ids_of(model, "What colour is the lamp?"), ids_of(model, "Green, they say.")),
    ]

    packed = answer_logits(model, turns, prefix)

    alone = torch.cat([answer_logits(model, [turn], prefix) for turn in turns])
    torch.testing.assert_close(packed, alone, atol=1e-4, rtol=1e-4)


def test_saved_and_loaded_prefixes_continue_with_the_same_tokens(
    family_model: LanguageModel, tmp_path: Path
) -> None:
    prefix = family_model.prefill(ids_of(family_model, CONTEXT))
    save_prefix(prefix, tmp_path / "prefix.safetensors")

    loaded = load_prefix(tmp_path / "prefix.safetensors")

    question = ids_of(family_model, QUESTION)
    params = SamplingParams(max_tokens=12)
    answers = [
        generate_text(family_model, [GenerationRequest("a", question, p, params)])
        for p in (prefix, loaded)
    ]
    assert answers[0] == answers[1]
    assert loaded.query_offset == prefix.query_offset


def test_generation_leaves_its_prefix_as_it_was(model: LanguageModel) -> None:
    prefix = model.prefill(ids_of(model, CONTEXT))
    before = prefix.keys.clone(), prefix.values.clone()

    generate_text(
        model,
        [GenerationRequest("a", ids_of(model, QUESTION), prefix, SamplingParams(max_tokens=9))],
    )

    assert torch.equal(before[0], prefix.keys)
    assert torch.equal(before[1], prefix.values)


def test_a_growing_cache_never_writes_into_what_it_was_made_from() -> None:
    keys, values = torch.zeros(1, 1, 2, 3, 4), torch.zeros(1, 1, 2, 3, 4)
    cache = growing_cache(keys, values)

    for _ in range(3):
        cache.update(torch.ones(1, 2, 1, 4), torch.ones(1, 2, 1, 4), 0)

    assert keys.sum() == 0
    assert cache.get_seq_length() == 6
    assert cache.layers[0].keys[0, 0, :, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_a_prefix_refuses_a_question_inside_itself() -> None:
    rows = torch.zeros(2, 2, 5, 4)
    with pytest.raises(PrefixMismatchError, match="query_offset 4 lies before"):
        KVPrefix(rows, rows, 4)


def test_a_prefix_file_with_values_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    rows = torch.full((2, 2, 5, 4), float("nan"))
    save_prefix(KVPrefix(rows, rows.clone(), 5), tmp_path / "p.safetensors")

    with pytest.raises(PrefixMismatchError, match="not finite"):
        load_prefix(tmp_path / "p.safetensors")
