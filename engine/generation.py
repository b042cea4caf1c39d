"""Decoding for many requests at once, each with a prefix of its own; requests join and leave freely.

Rows are aligned at their last token: shorter ones are padded on the left and the padding is masked,
so the batch yields the tokens that each request would yield alone. Prefixes are no part of the rows:
requests that continue the same one share it. Prompts are read a piece before each step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from transformers.cache_utils import Cache

from engine.detokenizer import Detokenizer
from engine.model import LanguageModel
from engine.prefix import KVPrefix, cache_tensors, growing_cache
from engine.prompt_reading import PIECE, UNWATCHED, PromptReading, forward
from engine.sampling import SamplingParams, choose_token, generator_of


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
class _Coming:
    requests: list[GenerationRequest]
    reading: PromptReading


@dataclass(slots=True, eq=False)
class GenerationBatch:
    """The requests being decoded now, and those whose prompts are being read. One thread owns it."""

    model: LanguageModel
    _coming: list[_Coming] = field(default_factory=list)
    _rows: list[_Row] = field(default_factory=list)
    _cache: Cache | None = None
    _mask: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    _logits: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def __len__(self) -> int:
        return len(self._rows) + sum(len(coming.requests) for coming in self._coming)

    @property
    def num_bytes(self) -> int:
        """Bytes held for keys and values, spare room too, without shared prefixes; may be read from any
        thread.
        """
        caches = [self._cache, *(coming.reading.cache for coming in tuple(self._coming))]
        layers: list[Any] = [layer for cache in caches if cache for layer in cache.layers]
        rooms = [part.untyped_storage() for layer in layers for part in (layer.keys, layer.values)]
        # Layers that have just been made of one tensor share its memory.
        return sum({room.data_ptr(): room.nbytes() for room in rooms}.values())

    @torch.inference_mode()
    def add(self, requests: Sequence[GenerationRequest]) -> None:
        """Takes new requests in; they join once their prompts are read, which steps do."""
        short: dict[bool, list[GenerationRequest]] = {True: [], False: []}
        long = [request for request in requests if len(request.prompt) > PIECE]
        for request in requests:
            if request not in long:
                short[request.prefix is not None].append(request)
        # A long prompt would pad what is read with it, and be waited for.
        for part in (*short.values(), *([request] for request in long)):
            if part:
                prompts, prefixes = [one.prompt for one in part], [one.prefix for one in part]
                self._coming.append(_Coming(part, PromptReading(self.model, prompts, prefixes)))

    def _read(self) -> None:
        """Reads a piece of prompts, which take turns; those that are whole join."""
        if not self._coming:
            return
        first = self._coming.pop(0)
        first.reading.read_piece(PIECE if self._rows else UNWATCHED)
        if first.reading.is_done:
            reading = first.reading
            self._join(first.requests, reading.cache, reading.mask, reading.logits)
        else:
            self._coming.append(first)

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
        """Reads a piece of a prompt where one waits, then chooses one token for each request that was
        read; finished ones leave, the others are computed on.
        """
        self._read()
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
        """Drops a request at once and frees its memory; false where it is not here."""
        if self._cancel_coming(request_id):
            return True
        keep = [i for i, row in enumerate(self._rows) if row.request.id != request_id]
        found = len(keep) < len(self._rows)
        if found:
            self._logits = self._logits[keep]
            self._select(keep)
        return found

    def _cancel_coming(self, request_id: str) -> bool:
        for coming in self._coming:
            keep = [i for i, one in enumerate(coming.requests) if one.id != request_id]
            if len(keep) < len(coming.requests):
                coming.requests = [coming.requests[i] for i in keep]
                if keep:
                    coming.reading.keep(keep)
                else:
                    self._coming.remove(coming)
                return True
        return False

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

    def _decode(self, tokens: list[int]) -> None:
        ids = torch.tensor(tokens, device=self.model.device)[:, None]
        positions = torch.tensor([row.position for row in self._rows], device=self.model.device)
        for row in self._rows:
            row.position += 1
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        assert self._cache is not None
        prefixes = [row.request.prefix for row in self._rows]
        self._logits = forward(
            self.model, ids, positions[:, None], self._cache, self._mask, prefixes
        )

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
