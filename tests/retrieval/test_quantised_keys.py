"""Rounded keys stay near the keys."""

import torch

from retrieval.quantised_keys import quantise


def test_each_key_is_off_by_half_a_step_at_most() -> None:
    keys = torch.randn(3, 50, 64, generator=torch.Generator().manual_seed(0)) * 7
    made = quantise(keys)
    assert made.values.dtype == torch.int8
    assert made.num_tokens == 50
    off = (made.restored() - keys).abs()
    assert (off <= made.scales[..., None] * 0.501).all()
    assert off.max() > 0


def test_a_row_of_zeros_stays_zero() -> None:
    assert quantise(torch.zeros(1, 2, 4)).restored().abs().max() == 0
