"""Attention to a shared prefix is attention to it, and a batch holds the prefix once."""

import pytest
import torch

from engine.answer_row import GenerationRequest
from engine.generation import GenerationBatch
from engine.model import LanguageModel
from engine.prefix import KVPrefix, cache_tensors
from engine.sampling import SamplingParams
from engine.shared_prefix import attend_with_prefixes, group_by_prefix

HEADS, KV_HEADS, DIM = 6, 2, 16
CPU = torch.device("cpu")


def random_prefix(length: int, seed: int) -> KVPrefix:
    keys, values = torch.randn(
        2, 3, KV_HEADS, length, DIM, generator=torch.Generator().manual_seed(seed)
    )
    return KVPrefix(keys, values, length)


def random_rows(batch: int, tokens: int, length: int) -> tuple[torch.Tensor, ...]:
    chance = torch.Generator().manual_seed(9)
    return (
        torch.randn(batch, HEADS, tokens, DIM, generator=chance),
        torch.randn(batch, KV_HEADS, length, DIM, generator=chance),
        torch.randn(batch, KV_HEADS, length, DIM, generator=chance),
    )


def plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor,
    prefix: KVPrefix | None, layer: int,
) -> torch.Tensor:  # fmt: skip
    """torch's own attention of one row over the prefix and its own tokens in one piece."""
    if prefix is not None:
        key = torch.cat([prefix.keys[layer], key], dim=1)
        value = torch.cat([prefix.values[layer], value], dim=1)
        whole = torch.ones(len(seen), prefix.length, dtype=torch.bool)
        seen = torch.cat([whole, seen], dim=1)
    return torch.nn.functional.scaled_dot_product_attention(
        query[None], key[None], value[None], attn_mask=seen, enable_gqa=True
    )[0].transpose(0, 1)


@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("is_padded", [False, True])
def test_parts_joined_are_the_whole(tokens: int, is_padded: bool) -> None:
    one, two = random_prefix(7, 1), random_prefix(12, 2)
    prefixes = [one, two, None, one]
    query, key, value = random_rows(4, tokens, 8)
    seen = torch.ones(tokens, 8, dtype=torch.bool).tril(8 - tokens).repeat(4, 1, 1)
    if is_padded:
        seen[1, :, :2] = False
    groups = group_by_prefix(prefixes, CPU)
    mask = seen[:, None] if is_padded else None
    found = attend_with_prefixes(query, key, value, mask, groups, 2, DIM**-0.5)

    assert found.shape == (4, tokens, HEADS, DIM)
    for row, prefix in enumerate(prefixes):
        expected = plain(query[row], key[row], value[row], seen[row], prefix, 2)
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)


def test_attention_in_blocks_is_attention_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = random_rows(3, 4, 4)
    groups = group_by_prefix([random_prefix(9, 1)] * 3, CPU)
    whole = attend_with_prefixes(query, key, value, None, groups, 0, DIM**-0.5)
    monkeypatch.setattr("engine.shared_prefix._LOGITS", 50)
    parts = attend_with_prefixes(query, key, value, None, groups, 0, DIM**-0.5)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-6)


def test_a_padded_query_that_sees_nothing_gives_zeros_and_not_nan() -> None:
    query, key, value = random_rows(2, 3, 3)
    mask = torch.ones(3, 3, dtype=torch.bool).tril().repeat(2, 1, 1, 1)
    mask[0, 0, 0] = False
    groups = group_by_prefix([None, random_prefix(4, 0)], CPU)
    found = attend_with_prefixes(query, key, value, mask, groups, 0, DIM**-0.5)
    assert torch.isfinite(found).all()
    assert torch.equal(found[0, 0], torch.zeros(HEADS, DIM))


def test_half_precision_goes_in_and_comes_out() -> None:
    query, key, value = (part.bfloat16() for part in random_rows(1, 1, 4))
    groups = group_by_prefix([random_prefix(5, 0).to(CPU, torch.bfloat16)], CPU)
    found = attend_with_prefixes(query, key, value, None, groups, 1, DIM**-0.5)
    assert found.dtype is torch.bfloat16


def test_rows_of_one_prefix_are_one_group() -> None:
    one, two = random_prefix(3, 0), random_prefix(3, 0)
    groups = group_by_prefix([one, None, two, one], CPU)
    assert [(group.prefix, group.rows.tolist()) for group in groups] == [(one, [0, 3]), (two, [2])]
    assert group_by_prefix([None, None], CPU) == ()


def test_a_batch_holds_no_copy_of_a_prefix(model: LanguageModel) -> None:
    prefix = model.prefill(model.encode("The keeper has a red coat. " * 20))
    prompt = tuple(model.encode("Who"))
    batch = GenerationBatch(model)
    batch.add(
        [GenerationRequest(str(i), prompt, prefix, SamplingParams(max_tokens=4)) for i in range(8)]
    )
    batch.step()
    assert batch._held is not None
    keys, _ = cache_tensors(batch._held.cache)
    assert keys.shape[1] == 8
    assert keys.shape[3] == len(prompt) + 1 < prefix.length
