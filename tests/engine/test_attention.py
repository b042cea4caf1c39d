"""The tap sees what plain eager attention computes, and computes nothing above what it needs."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.attention import Head
from engine.errors import EngineError
from engine.model import LanguageModel

TEXT = "The ferry leaves at dawn. The lamp is green."
QUESTION = "When does the ferry leave?"


@torch.inference_mode()
def eager_attention(model: LanguageModel, ids: list[int]) -> tuple[torch.Tensor, ...]:
    """[heads, tokens, tokens] of every layer, from the same weights with transformers' eager path."""
    config = copy.deepcopy(model.network.config)  # the twin would change it
    twin = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    twin.load_state_dict(model.network.state_dict())
    output = twin.eval()(input_ids=torch.tensor([ids]), output_attentions=True)
    return tuple(layer[0] for layer in output.attentions)


def test_question_to_text_attention_equals_plain_eager_attention(
    family_model: LanguageModel,
) -> None:
    model = family_model
    text, question = model.encode(TEXT), model.encode(QUESTION)
    heads = [Head(1, 0), Head(1, 3), Head(2, 1), Head(3, 2)]

    tap = model.tap([*text, *question], [1, 2, 3])
    queries = {layer: rows[:, len(text) :] for layer, rows in tap.queries.items()}
    keys = {layer: rows[:, : len(text)] for layer, rows in tap.keys.items()}

    reference = eager_attention(model, [*text, *question])
    group = model.geometry.heads // model.geometry.kv_heads
    for place in heads:
        query, key = queries[place.layer][place.head], keys[place.layer][place.head // group]
        found = torch.softmax(query @ key.T * key.shape[-1] ** -0.5, dim=-1)
        rows = reference[place.layer][place.head, len(text) :, : len(text)]
        # The reference's softmax also covers the question's own keys: renormalise over the text.
        torch.testing.assert_close(found, rows / rows.sum(-1, keepdim=True), atol=1e-5, rtol=1e-4)


def test_stored_keys_give_the_attention_of_reading_together(family_model: LanguageModel) -> None:
    model = family_model
    text, question = model.encode(TEXT), model.encode(QUESTION)

    together = model.tap([*text, *question], [2])
    window = model.prefill(text)
    apart = model.tap(question, [2], start=len(text), past=window)

    torch.testing.assert_close(
        apart.queries[2], together.queries[2][:, len(text) :], atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(apart.keys[2], together.keys[2], atol=1e-4, rtol=1e-4)


def test_nothing_above_the_deepest_layer_asked_for_is_computed(model: LanguageModel) -> None:
    reached: list[str] = []
    network = model.network
    watched = {
        "layer 1 output": network.model.layers[1].mlp,
        "layer 2": network.model.layers[2],
        "vocabulary": network.lm_head,
    }
    hooks = [
        module.register_forward_hook(lambda *_, name=name: reached.append(name))
        for name, module in watched.items()
    ]
    try:
        model.tap(model.encode(TEXT), [0, 1])
    finally:
        for hook in hooks:
            hook.remove()

    assert reached == []


def test_a_tap_leaves_the_model_as_it_was(model: LanguageModel) -> None:
    ids = torch.tensor([model.encode(TEXT)])
    with torch.inference_mode():
        before = model.network(input_ids=ids).logits
        model.tap(model.encode(QUESTION), [1])
        after = model.network(input_ids=ids).logits

    assert torch.equal(before, after)


def test_a_layer_that_is_not_there_is_named(model: LanguageModel) -> None:
    with pytest.raises(EngineError, match="no layer 9"):
        model.tap(model.encode(TEXT), [9])
