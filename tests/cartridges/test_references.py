"""References hold what a query finds in its own conversation: a prefix is judged beside it."""

import torch
from lesson_room import finish, make_lessons, read_context

from cartridges.references import References, collect_references
from engine.model import LanguageModel
from engine.scoring import block_mask, tap_turns


def collected(model: LanguageModel, most: int = 10_000) -> list[References]:
    turns = [lesson.turn for lesson in make_lessons(model)]
    return finish(collect_references(model, read_context(model), turns, most))[1]


def test_outputs_beside_the_whole_context_are_those_of_the_model(
    family_model: LanguageModel,
) -> None:
    """One pack, so that torch's own attention over context and conversation can be asked."""
    turns = [lesson.turn for lesson in make_lessons(family_model, 3)]
    context = read_context(family_model)
    layers = range(family_model.geometry.layers)
    _, references = finish(collect_references(family_model, context, turns, 10_000))
    tap = tap_turns(family_model, turns, context, layers)
    mask = block_mask(turns, context.length)

    for layer in layers:
        expected = torch.nn.functional.scaled_dot_product_attention(
            tap.queries[layer][None],
            tap.keys[layer][None],
            tap.values[layer][None],
            attn_mask=mask,
            enable_gqa=True,
        )[0]
        expected = expected.unflatten(0, (family_model.geometry.kv_heads, -1)).flatten(1, 2)
        found = references[layer].outputs(context.keys[layer], context.values[layer])
        assert found.shape == expected.shape
        # The references are a permutation of the rows.
        order, wanted = (rows.sum(dim=-1).argsort(dim=-1) for rows in (found, expected))
        for head in range(len(found)):
            torch.testing.assert_close(
                found[head, order[head]], expected[head, wanted[head]], atol=1e-4, rtol=1e-3
            )


def test_shares_of_prefix_and_conversation_are_one(model: LanguageModel) -> None:
    own = collected(model)[1]
    to_prefix, rest = own.shares(read_context(model).keys[1])
    torch.testing.assert_close(to_prefix.sum(-1) + rest[..., 0], torch.ones_like(rest[..., 0]))
    assert float(rest.min()) > 0.0


def test_the_bound_on_rows_is_kept_and_equal_seeds_choose_equal_rows(model: LanguageModel) -> None:
    some, again = collected(model, 50), collected(model, 50)
    assert [tuple(layer.queries.shape) for layer in some] == [(2, 50, 16)] * 4
    assert all(torch.equal(a.queries, b.queries) for a, b in zip(some, again, strict=True))


def test_references_can_be_descended_on(model: LanguageModel) -> None:
    """They are collected with no gradient, and must not forbid one."""
    own = collected(model, 20)[0]
    keys = torch.zeros(2, 3, 16, requires_grad=True)
    own.outputs(keys, torch.ones(2, 3, 16)).square().sum().backward()
    assert keys.grad is not None
    assert float(keys.grad.abs().sum()) > 0.0
