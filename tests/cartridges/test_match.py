"""The start keeps the rows that matter, solves what it says it solves, and is refined from there."""

from dataclasses import replace

import pytest
import torch
from lesson_room import finish, make_lessons, matched, read_context

from cartridges.match import (
    MatchSettings,
    attend,
    fit_head,
    match_prefix,
    refine,
    truncate_prefix,
)
from cartridges.references import References, collect_references
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.scoring import Turn, answer_logits

CLOSED = MatchSettings(steps=0)
REFINED = MatchSettings(steps=40, batch=128)


def random_head(seed: int = 0) -> tuple[References, torch.Tensor, torch.Tensor, torch.Tensor]:
    """References of one head with 200 rows, their targets, and keys and values of 60 tokens."""
    chance = torch.Generator().manual_seed(seed)
    references = References(
        2.0 * torch.randn(1, 200, 16, generator=chance),
        torch.randn(1, 200, generator=chance),
        torch.randn(1, 200, 16, generator=chance),
    )
    keys, values = torch.randn(2, 60, 16, generator=chance)
    return references, references.outputs(keys[None], values[None])[0], keys, values


def fit(
    references: References,
    targets: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    length: int,
    settings: MatchSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The head fitted with the importance that its own attention gives."""
    whole = attend(references, keys[None], values[None])
    return fit_head(references, targets, whole.importance[0], keys, values, length, settings)


def turns_of(model: LanguageModel, count: int = 10) -> list[Turn]:
    return [lesson.turn for lesson in make_lessons(model, count)]


def errors(model: LanguageModel, prefix: KVPrefix, turns: list[Turn]) -> list[float]:
    """How far each layer's outputs are off from those of the whole context."""
    context = read_context(model)
    _, references = finish(collect_references(model, context, turns, 4096))
    return [
        float(
            (
                own.outputs(prefix.keys[layer], prefix.values[layer])
                - own.outputs(context.keys[layer], context.values[layer])
            ).norm()
        )
        for layer, own in enumerate(references)
    ]


@pytest.mark.parametrize("settings", [CLOSED, REFINED])
def test_a_match_of_full_length_answers_like_the_context(
    family_model: LanguageModel, settings: MatchSettings
) -> None:
    turns, context = turns_of(family_model), read_context(family_model)
    _, references = finish(collect_references(family_model, context, turns, 4096))
    shares, prefix = finish(match_prefix(context, references, context.length, settings))

    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert prefix.query_offset == context.query_offset
    if not settings.steps:
        torch.testing.assert_close(
            answer_logits(family_model, turns, prefix),
            answer_logits(family_model, turns, context),
            atol=1e-3,
            rtol=1e-3,
        )


def test_a_short_match_in_closed_form_keeps_keys_of_the_context_and_the_questions_place(
    model: LanguageModel,
) -> None:
    context = read_context(model)
    prefix = matched(model, turns_of(model), 20, CLOSED)

    assert prefix.length == 20
    assert prefix.query_offset == context.query_offset == context.length
    assert torch.equal(prefix.keys[:, :, :4], context.keys[:, :, :4])
    for layer in range(model.geometry.layers):
        for head in range(model.geometry.kv_heads):
            rows = {tuple(row.tolist()) for row in context.keys[layer, head]}
            assert all(tuple(row.tolist()) in rows for row in prefix.keys[layer, head])


def test_a_match_longer_than_the_context_is_as_long_as_the_context(model: LanguageModel) -> None:
    context = read_context(model)
    prefix = matched(model, turns_of(model, 2), 10_000, CLOSED)
    assert prefix.length == context.length


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_values_solve_the_ridge_system(ridge: float) -> None:
    references, targets, keys, values = random_head()
    kept, fitted = fit(references, targets, keys, values, 12, replace(CLOSED, ridge=ridge))

    shares, own = references.shares(kept[None])
    small, missing = shares[0], targets - own[0] * references.found[0]
    rows = [int((keys == row).all(dim=1).nonzero()) for row in kept]
    pull = (ridge * (small.T @ small).diagonal().mean()).sqrt()
    expected = torch.linalg.lstsq(
        torch.cat([small, pull * torch.eye(12)]).double(),
        torch.cat([missing, pull * values[rows]]).double(),
    ).solution
    torch.testing.assert_close(fitted.double(), expected, atol=1e-3, rtol=1e-3)


def test_the_first_rows_and_those_most_attended_to_are_kept_in_order() -> None:
    references, targets, keys, values = random_head()
    kept, _ = fit(references, targets, keys, values, 12, CLOSED)

    mass = references.shares(keys[None])[0][0].square().mean(dim=0)
    others = sorted(range(4, 60), key=lambda row: -float(mass[row]))[:8]
    assert torch.equal(kept, keys[sorted([0, 1, 2, 3, *others])])


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_prefix_shorter_than_the_forced_rows_begins_at_the_beginning(length: int) -> None:
    references, targets, keys, values = random_head()
    kept, _ = fit(references, targets, keys, values, length, CLOSED)
    assert torch.equal(kept, keys[:length])


@pytest.mark.parametrize("length", [8, 24])
def test_a_match_gives_the_contexts_attention_better_than_truncation_and_refined_better_still(
    family_model: LanguageModel, length: int
) -> None:
    turns, context = turns_of(family_model), read_context(family_model)
    truncated = truncate_prefix(context, length)
    assert (truncated.length, truncated.query_offset) == (length, context.query_offset)
    closed = matched(family_model, turns, length, CLOSED)
    refined = matched(family_model, turns, length, REFINED)

    by_way = [errors(family_model, prefix, turns) for prefix in (truncated, closed, refined)]
    assert all(a > b > c for a, b, c in zip(*by_way, strict=True))


def test_refinement_leaves_the_sink_and_what_it_was_given(model: LanguageModel) -> None:
    references, targets, keys, values = random_head()
    kept, fitted = (part[None] for part in fit(references, targets, keys, values, 12, CLOSED))
    before = kept.clone(), fitted.clone()
    settings = replace(REFINED, frozen=2)
    moved = refine(references, targets[None], kept, fitted, settings)

    for part, start, old in zip(moved, (kept, fitted), before, strict=True):
        assert torch.equal(start, old)
        assert torch.equal(part[:, :2], start[:, :2])
        assert not torch.isclose(part[:, 2:], start[:, 2:]).all()
    again = refine(references, targets[None], kept, fitted, settings)
    assert all(torch.equal(a, b) for a, b in zip(moved, again, strict=True))
    still = refine(references, targets[None], kept, fitted, CLOSED)
    assert torch.equal(still[0], kept)


def test_a_long_prefix_is_refined_by_fewer_rows_a_step() -> None:
    rows = [MatchSettings().batch_for(length) for length in (1, 128, 256, 512, 8000)]
    assert rows == [1024, 1024, 512, 256, 256]


def test_outputs_in_blocks_are_the_outputs(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    references, targets, keys, values = random_head()
    monkeypatch.setattr("cartridges.match._ROWS", 64)
    torch.testing.assert_close(attend(references, keys[None], values[None]).outputs[0], targets)
