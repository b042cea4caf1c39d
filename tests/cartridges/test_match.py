"""The closed-form start keeps the rows that matter and solves exactly what it says it solves."""

import pytest
import torch
from lesson_room import finish, make_lessons, read_context

from cartridges.match import (
    MatchSettings,
    _reference_queries,
    fit_head,
    match_prefix,
    truncate_prefix,
)
from engine.model import LanguageModel
from engine.scoring import answer_logits

SETTINGS = MatchSettings()


def random_head(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries [200, 16], keys and values [60, 16]."""
    chance = torch.Generator().manual_seed(seed)
    queries = 2.0 * torch.randn(200, 16, generator=chance)
    keys, values = torch.randn(2, 60, 16, generator=chance)
    return queries, keys, values


def attend(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    return torch.softmax(queries @ keys.T * keys.shape[-1] ** -0.5, dim=-1)


def test_a_match_of_full_length_answers_like_the_context(family_model: LanguageModel) -> None:
    turns = [lesson.turn for lesson in make_lessons(family_model)]
    context = read_context(family_model)

    shares, prefix = finish(match_prefix(family_model, context, turns, context.length, SETTINGS))

    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert prefix.query_offset == context.query_offset
    torch.testing.assert_close(
        answer_logits(family_model, turns, prefix),
        answer_logits(family_model, turns, context),
        atol=1e-3,
        rtol=1e-3,
    )


def test_a_short_match_keeps_keys_of_the_context_and_the_questions_place(
    model: LanguageModel,
) -> None:
    turns = [lesson.turn for lesson in make_lessons(model)]
    context = read_context(model)
    _, prefix = finish(match_prefix(model, context, turns, 20, SETTINGS))

    assert prefix.length == 20
    assert prefix.query_offset == context.query_offset == context.length
    assert torch.equal(prefix.keys[:, :, :4], context.keys[:, :, :4])
    for layer in range(model.geometry.layers):
        for head in range(model.geometry.kv_heads):
            rows = {tuple(row.tolist()) for row in context.keys[layer, head]}
            assert all(tuple(row.tolist()) in rows for row in prefix.keys[layer, head])


def test_a_match_longer_than_the_context_is_as_long_as_the_context(model: LanguageModel) -> None:
    context = read_context(model)
    turns = [lesson.turn for lesson in make_lessons(model, 2)]
    _, prefix = finish(match_prefix(model, context, turns, 10_000, SETTINGS))
    assert prefix.length == context.length


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_values_solve_the_ridge_system(ridge: float) -> None:
    queries, keys, values = random_head()
    kept, fitted = fit_head(queries, keys, values, 12, MatchSettings(ridge=ridge))

    target, small = attend(queries, keys) @ values, attend(queries, keys[kept])
    pull = (ridge * (small.T @ small).diagonal().mean()).sqrt()
    expected = torch.linalg.lstsq(
        torch.cat([small, pull * torch.eye(12)]).double(),
        torch.cat([target, pull * values[kept]]).double(),
    ).solution
    torch.testing.assert_close(fitted.double(), expected, atol=1e-3, rtol=1e-3)


def test_the_first_rows_and_those_most_attended_to_are_kept_in_order() -> None:
    queries, keys, values = random_head()
    kept, _ = fit_head(queries, keys, values, 12, SETTINGS)

    mass = attend(queries, keys).square().mean(dim=0)
    others = sorted(range(4, 60), key=lambda row: -float(mass[row]))[:8]
    assert kept.tolist() == sorted([0, 1, 2, 3, *others])


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_prefix_shorter_than_the_forced_rows_begins_at_the_beginning(length: int) -> None:
    kept, _ = fit_head(*random_head(), length, SETTINGS)
    assert kept.tolist() == list(range(length))


@pytest.mark.parametrize("length", [8, 24])
def test_a_match_gives_the_contexts_attention_better_than_truncation(
    family_model: LanguageModel, length: int
) -> None:
    turns = [lesson.turn for lesson in make_lessons(family_model)]
    context = read_context(family_model)
    _, pooled = finish(_reference_queries(family_model, context, turns, SETTINGS))
    _, matched = finish(match_prefix(family_model, context, turns, length, SETTINGS))
    truncated = truncate_prefix(context, length)
    assert (truncated.length, truncated.query_offset) == (length, context.query_offset)

    for layer in range(family_model.geometry.layers):
        for head in range(family_model.geometry.kv_heads):
            queries = pooled[layer][head]
            target = attend(queries, context.keys[layer, head]) @ context.values[layer, head]
            errors = [
                float(
                    (attend(queries, p.keys[layer, head]) @ p.values[layer, head] - target).norm()
                )
                for p in (matched, truncated)
            ]
            assert errors[0] < errors[1]


def test_the_bound_on_reference_rows_is_kept(model: LanguageModel) -> None:
    turns = [lesson.turn for lesson in make_lessons(model)]
    _, pooled = finish(
        _reference_queries(model, read_context(model), turns, MatchSettings(queries=50))
    )
    assert [tuple(rows.shape) for rows in pooled] == [(2, 50, 16)] * 4
