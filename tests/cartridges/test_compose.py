"""Composed cartridges stand behind one another in the order given, each in a place of its own."""

from collections.abc import Callable

import pytest
import torch
from lesson_room import SENTENCES, read_context

from cartridges.compose import SINK, compose
from engine.errors import PrefixMismatchError
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter


@pytest.fixture
def two(model: LanguageModel) -> tuple[KVPrefix, KVPrefix]:
    prompter = Prompter(model)
    first, second = (
        model.prefill(prompter.context_ids(part)) for part in (SENTENCES[:4], SENTENCES[4:])
    )
    return first, second


def test_one_prefix_composed_is_itself(model: LanguageModel) -> None:
    context = read_context(model)
    made = compose(model, [context])
    assert torch.equal(made.keys, context.keys)
    assert made.query_offset == context.query_offset


def test_later_sinks_are_dropped_and_positions_are_unique(
    model: LanguageModel, two: tuple[KVPrefix, KVPrefix]
) -> None:
    first, second = two
    made = compose(model, two)

    assert made.length == made.query_offset == first.length + second.length - SINK
    assert torch.equal(made.keys[:, :, : first.length], first.keys)
    assert torch.equal(made.values[:, :, first.length :], second.values[:, :, SINK:])
    # The second's rows as they are when the same tokens are read behind the first's positions: in the
    # first layer keys depend on a token and its position alone.
    ids = Prompter(model).context_ids(SENTENCES[4:])
    moved = model.tap(ids, [0], first.query_offset - SINK).keys[0][:, SINK:]
    torch.testing.assert_close(made.keys[0, :, first.length :], moved, atol=1e-4, rtol=1e-4)


def test_the_order_of_several_is_kept(model: LanguageModel, two: tuple[KVPrefix, KVPrefix]) -> None:
    first, second = two
    there, back = compose(model, two), compose(model, (second, first))
    assert torch.equal(there.values[:, :, : first.length], first.values)
    assert torch.equal(back.values[:, :, : second.length], second.values)


def test_what_does_not_fit_the_window_is_refused(
    make_model: Callable[..., LanguageModel], two: tuple[KVPrefix, KVPrefix], model: LanguageModel
) -> None:
    small = make_model(max_position_embeddings=two[0].length + two[1].length - SINK)
    with pytest.raises(PrefixMismatchError, match="compose fewer"):
        compose(small, two)
    with pytest.raises(PrefixMismatchError, match="no prefix"):
        compose(model, [])
