"""A prefix that is moved answers as it did where it was."""

import pytest
import torch

from engine.errors import ModelUnsupportedError, PrefixMismatchError
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.rotation import check_movable, move_prefix, turn_keys
from engine.scoring import Turn, answer_logits

TEXT = "The lamp of the old lighthouse flashes three times every twenty seconds."
TURN = [Turn((5, 9, 30, 77), (41, 8, 120))]


def short_prefix(model: LanguageModel) -> KVPrefix:
    """Shorter than the text whose place it takes."""
    return model.prefill(model.encode(TEXT)).head(9)


@pytest.mark.parametrize("place", ["end", "later"])
def test_a_moved_prefix_gives_the_same_logits(family_model: LanguageModel, place: str) -> None:
    prefix = short_prefix(family_model)
    offset = prefix.length if place == "end" else prefix.query_offset + 500
    moved = move_prefix(family_model, prefix, offset)

    assert moved.query_offset == offset
    assert not torch.allclose(moved.keys, prefix.keys, atol=1e-3)
    torch.testing.assert_close(
        answer_logits(family_model, TURN, moved),
        answer_logits(family_model, TURN, prefix),
        atol=2e-3,
        rtol=2e-3,
    )


def test_a_prefix_whose_question_moves_alone_answers_otherwise(model: LanguageModel) -> None:
    prefix = short_prefix(model)
    unturned = KVPrefix(prefix.keys, prefix.values, prefix.length)
    difference = answer_logits(model, TURN, unturned) - answer_logits(model, TURN, prefix)
    assert float(difference.abs().max()) > 0.1


def test_turned_keys_are_those_of_a_text_read_elsewhere(family_model: LanguageModel) -> None:
    ids = family_model.encode(TEXT)
    near, far = (family_model.tap(ids, [0], start).keys[0] for start in (3, 40))
    torch.testing.assert_close(turn_keys(family_model, near, 37), far, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turn_keys(family_model, far, -37), near, atol=1e-4, rtol=1e-4)


def test_a_prefix_that_stays_is_the_same_prefix(model: LanguageModel) -> None:
    prefix = short_prefix(model)
    assert move_prefix(model, prefix, prefix.query_offset) is prefix


def test_a_question_cannot_stand_inside_the_prefix(model: LanguageModel) -> None:
    prefix = short_prefix(model)
    with pytest.raises(PrefixMismatchError, match="before the prefix's end"):
        move_prefix(model, prefix, prefix.length - 1)


def test_a_model_that_turns_otherwise_is_refused(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_movable(model)
    with monkeypatch.context() as patch:
        patch.setattr(model.network.config, "rope_parameters", {"rope_type": "dynamic"})
        with pytest.raises(ModelUnsupportedError, match="cannot be moved"):
            check_movable(model)
    monkeypatch.setattr("engine.rotation.turn_keys", lambda model, keys, shift: keys)
    with pytest.raises(ModelUnsupportedError, match="cannot be moved"):
        check_movable(model)
