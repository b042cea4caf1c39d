"""Decoding for many requests at once, each with a prefix of its own; requests join and leave freely.

Rows are aligned at their last token: shorter ones are padded on the left and the padding is masked,
so the batch yields the tokens that each request would yield alone. Prefixes are no part of the rows:
requests that continue the same one share it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from transformers.cache_utils import Cache

from engine.detokenizer import Detokenizer
from engine.model import LanguageModel
from engine.prefix import KVPrefix, cache_bytes, cache_tensors, growing_cache
from engine.sampling import SamplingParams, choose_token, generator_of
from engine.shared_prefix import group_by_prefix


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, eq=False)
class GenerationRequest:
    """One answer to make: `prompt` continues `prefix` at its query offset."""

    id: str
    prompt: tuple[int, ...]
    prefix: KVPrefix | None = None
    params: SamplingParams = field(default_factory=SamplingParams)


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of one request: its token, the text that became certain, and why it ended, if it did."""

    request_id: str
    token: int
    text: str
    finish: FinishReason | None


@dataclass(slots=True, eq=False)
class _Row:
    request: GenerationRequest
    detokenizer: Detokenizer
    chance: torch.Generator
    position: int  # of the next token
    generated: int = 0


@dataclass(slots=True, eq=False)
class GenerationBatch:
    """The requests being decoded now. One thread owns it."""

    model: LanguageModel
    _rows: list[_Row] = field(default_factory=list)
    _cache: Cache | None = None
    _mask: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    _logits: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_bytes(self) -> int:
        """Memory of the rows' own keys and values; that of shared prefixes is not theirs."""
        return cache_bytes(self._cache) if self._cache is not None else 0

    @torch.inference_mode()
    def add(self, requests: Sequence[GenerationRequest]) -> None:
        """Reads the prompts of new requests in one pass and lets them join."""
        with_prefix = [request for request in requests if request.prefix]
        without = [request for request in requests if not request.prefix]
        for part in (with_prefix, without):  # a long prompt would pad what is read behind a prefix
            if part:
                self._join(part, *self._prefill(part))

    def _join(
        self,
        requests: Sequence[GenerationRequest],
        cache: Cache,
        mask: torch.Tensor,
        logits: torch.Tensor,
    ) -> None:
        if self._cache is not None and self._rows:
            cache, mask = _merge((self._cache, self._mask), (cache, mask))
            logits = torch.cat([self._logits, logits])
        self._cache, self._mask, self._logits = cache, mask, logits
        self._rows.extend(self._row(request) for request in requests)

    @torch.inference_mode()
    def step(self) -> list[Piece]:
        """Chooses one token for each request; finished ones leave, the others are computed on."""
        if not self._rows:
            return []
        pieces = [
            self._advance(row, logits) for row, logits in zip(self._rows, self._logits, strict=True)
        ]
        keep = [i for i, piece in enumerate(pieces) if piece.finish is None]
        self._select(keep)
        if keep:
            self._decode([pieces[i].token for i in keep])
        return pieces

    def cancel(self, request_id: str) -> bool:
        """Drops a request at once and frees its memory; false where it is not decoding."""
        keep = [i for i, row in enumerate(self._rows) if row.request.id != request_id]
        found = len(keep) < len(self._rows)
        if found:
            self._logits = self._logits[keep]
            self._select(keep)
        return found

    def _row(self, request: GenerationRequest) -> _Row:
        start = request.prefix.query_offset if request.prefix else 0
        return _Row(
            request,
            Detokenizer(self.model, request.params.stop),
            generator_of(request.params),
            start + len(request.prompt),
        )

    def _advance(self, row: _Row, logits: torch.Tensor) -> Piece:
        params = row.request.params
        token = choose_token(logits, params, row.chance)
        row.generated += 1
        if token in self.model.stop_ids:
            return Piece(row.request.id, token, row.detokenizer.finish(), FinishReason.STOP)
        text = row.detokenizer.push(token)
        if row.detokenizer.stopped:
            return Piece(row.request.id, token, text, FinishReason.STOP)
        if row.generated >= params.max_tokens:
            text += row.detokenizer.finish()
            return Piece(row.request.id, token, text, FinishReason.LENGTH)
        return Piece(row.request.id, token, text, None)

    def _prefill(
        self, requests: Sequence[GenerationRequest]
    ) -> tuple[Cache, torch.Tensor, torch.Tensor]:
        model = self.model
        most = max(len(request.prompt) for request in requests)
        ids = torch.zeros(len(requests), most, dtype=torch.long)
        positions, mask = torch.zeros_like(ids), torch.zeros_like(ids)
        for i, request in enumerate(requests):
            length = len(request.prompt)
            start = request.prefix.query_offset if request.prefix else 0
            ids[i, most - length :] = torch.tensor(request.prompt)
            positions[i, most - length :] = torch.arange(start, start + length)
            mask[i, most - length :] = 1
        empty = model.empty_kv().expand(model.geometry.layers, len(requests), -1, -1, -1)
        cache, mask = growing_cache(empty, empty), mask.to(model.device)
        ids, positions = ids.to(model.device), positions.to(model.device)
        prefixes = [request.prefix for request in requests]
        return cache, mask, self._forward(ids, positions, cache, mask, prefixes)

    def _decode(self, tokens: list[int]) -> None:
        ids = torch.tensor(tokens, device=self.model.device)[:, None]
        positions = torch.tensor([row.position for row in self._rows], device=self.model.device)
        for row in self._rows:
            row.position += 1
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        assert self._cache is not None
        prefixes = [row.request.prefix for row in self._rows]
        self._logits = self._forward(ids, positions[:, None], self._cache, self._mask, prefixes)

    def _forward(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        cache: Cache,
        mask: torch.Tensor,
        prefixes: Sequence[KVPrefix | None],
    ) -> torch.Tensor:
        output = self.model.network(
            input_ids=ids,
            position_ids=positions,
            past_key_values=cache,
            attention_mask=None if bool(mask.all()) else mask,
            use_cache=True,
            logits_to_keep=1,
            groups=group_by_prefix(prefixes, self.model.device),
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _select(self, keep: list[int]) -> None:
        if len(keep) == len(self._rows):
            return
        self._rows = [self._rows[i] for i in keep]
        if not keep or self._cache is None:
            self._cache = None
            return
        mask = self._mask[keep]
        first = int(mask.any(dim=0).int().argmax())  # columns that only the leavers used
        keys, values = cache_tensors(self._cache)
        self._mask = mask[:, first:]
        self._cache = growing_cache(keys[:, keep, :, first:], values[:, keep, :, first:])


def generate(model: LanguageModel, requests: Sequence[GenerationRequest]) -> Iterator[Piece]:
    """Runs requests as one batch to their ends; pieces come interleaved."""
    batch = GenerationBatch(model)
    batch.add(requests)
    while len(batch):
        yield from batch.step()


def generate_text(
    model: LanguageModel, requests: Sequence[GenerationRequest], most: int = 16
) -> list[str]:
    """Whole answers in the order of the requests; at most `most` are decoded at once."""
    texts = {request.id: "" for request in requests}
    waiting = list(requests)
    batch = GenerationBatch(model)
    while waiting or len(batch):
        if waiting and len(batch) <= most // 2:
            room = most - len(batch)
            batch.add(waiting[:room])
            waiting = waiting[room:]
        for piece in batch.step():
            texts[piece.request_id] += piece.text
    return [texts[request.id] for request in requests]


def _merge(
    left: tuple[Cache, torch.Tensor], right: tuple[Cache, torch.Tensor]
) -> tuple[Cache, torch.Tensor]:
    """Two batches as one; the shorter is padded on the left."""
    most = max(left[1].shape[1], right[1].shape[1])
    parts = [_padded(*cache_tensors(cache), mask, most) for cache, mask in (left, right)]
    keys, values, mask = (
        torch.cat(pair, dim=dim)
        for pair, dim in zip(zip(*parts, strict=True), (1, 1, 0), strict=True)
    )
    return growing_cache(keys, values), mask


def _padded(
    keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    pad = most - mask.shape[1]
    return (
        torch.nn.functional.pad(keys, (0, 0, pad, 0)),
        torch.nn.functional.pad(values, (0, 0, pad, 0)),
        torch.nn.functional.pad(mask, (pad, 0)),
    )
