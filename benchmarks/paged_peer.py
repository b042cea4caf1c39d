"""transformers' continuous batching with a shared prefix for each request: a peer of our batches.

It has no argument for a prefix, so a prefix is written into pages that a request without an end owns,
and requests are made to find them there by their id. Only what is private to transformers can do it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from engine.answer_row import GenerationRequest
from engine.prefix import KVPrefix
from engine.wheels import default_model_folder

PAGE = 16  # tokens
_PLACEHOLDER = 100  # the first of the token ids that stand where a prefix is, and are never read


class PagedPeer:
    """A running manager with the prefixes of some requests pinned in its cache."""

    def __init__(self, data: Path, requests: Sequence[GenerationRequest]) -> None:
        self._network: Any = AutoModelForCausalLM.from_pretrained(
            default_model_folder(data), dtype=torch.float32, attn_implementation="sdpa"
        ).eval()
        self._prefixes = {id(one.prefix): one.prefix for one in requests if one.prefix}
        self._pinned: dict[int, dict[int, list[int]]] = {}
        self._prefix_of: dict[str, KVPrefix] = {}
        settings = ContinuousBatchingConfig(
            page_size=PAGE, num_blocks=2048, max_batch_tokens=512, auto_switch_to_flash=False
        )
        self._manager = self._network.init_continuous_batching(
            GenerationConfig(do_sample=False), settings
        )
        self._manager.start()
        self._warm()
        for prefix in self._prefixes.values():
            self._pin(prefix)
        self._hook()

    def close(self) -> None:
        """Ends the manager's thread."""
        self._manager.stop(block=True)

    def answer(self, requests: Sequence[GenerationRequest]) -> dict[str, list[int]]:
        """The tokens of each answer."""
        for request in requests:
            assert request.prefix is not None
            self._prefix_of[request.id] = request.prefix
            self._manager.add_request(
                self._stand_in(request.prefix) + list(request.prompt),
                request_id=request.id,
                max_new_tokens=request.params.max_tokens,
                eos_token_id=self._network.generation_config.eos_token_id,
            )
        answers: dict[str, list[int]] = {}
        while len(answers) < len(requests):
            result = self._manager.get_result(timeout=600)
            if result is None or result.error:
                raise RuntimeError(f"the peer failed: {result and result.error}")
            answers[result.request_id] = list(result.generated_tokens)
        return answers

    def _stand_in(self, prefix: KVPrefix) -> list[int]:
        """Tokens in a prefix's place; pages of equal tokens count as equal, so each has its own."""
        return [_PLACEHOLDER + list(self._prefixes).index(id(prefix))] * prefix.length

    def _warm(self) -> None:
        self._manager.add_request([1, 2, 3], request_id="warm", max_new_tokens=2)
        self._manager.get_result(timeout=600)

    def _pin(self, prefix: KVPrefix) -> None:
        cache = self._manager.batch_processor.cache
        name = f"pinned-{id(prefix)}"
        with self._manager.pause():
            for allocator in cache.cache_allocators.values():
                for _ in range(allocator.needs_new_sectors(name, 0, prefix.length)):
                    cache.pool.allocate_sector(allocator.index)
                allocator.allocate_cache_to_request(name, 0, prefix.length)
                places = torch.tensor(allocator.get_write_indices(name, 0, prefix.length))
                for layer in allocator.layer_indices:
                    keys, values = allocator._kv_token_views[layer]
                    keys.index_copy_(0, places, prefix.keys[layer].transpose(0, 1))
                    values.index_copy_(0, places, prefix.values[layer].transpose(0, 1))
                allocator.mark_complete_blocks(name, self._stand_in(prefix), prefix.length // PAGE)
                owned = list(allocator.block_table[name])
                self._pinned.setdefault(id(prefix), {})[allocator.index] = owned

    def _hook(self) -> None:
        cache = self._manager.batch_processor.cache
        search = cache.search_prefix_match

        def find(request_id: str, prompt_ids: list[int]) -> int:
            prefix = self._prefix_of.get(request_id)
            if prefix is None:
                return int(search(request_id, prompt_ids))
            for allocator in cache.cache_allocators.values():
                blocks = self._pinned[id(prefix)][allocator.index]
                allocator.acquire_prefix_blocks(request_id, prefix.length, blocks)
            return prefix.length

        cache.search_prefix_match = find
