"""Decoding for many requests at once, each with a prefix of its own; requests join and leave freely.

Rows are aligned at their last token: shorter ones are padded on the left and the padding is masked,
so the batch yields the tokens that each request would yield alone. Prefixes are no part of the rows:
requests that continue the same one share it. Prompts are read a piece before each step. What a row has
guessed ahead is read with its last token; wrong guesses leave columns that are masked.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.answer_row import AnswerRow, GenerationRequest, Piece
from engine.drafting import MOST_DRAFTED, PassCost, length_that_pays
from engine.model import LanguageModel
from engine.prompt_reading import PIECE, UNWATCHED, PromptReading, forward
from engine.row_cache import RowCache


@dataclass(slots=True, eq=False)
class _Coming:
    requests: list[GenerationRequest]
    reading: PromptReading


@dataclass(slots=True, eq=False)
class GenerationBatch:
    """The requests being decoded now, and those whose prompts are being read. One thread owns it."""

    model: LanguageModel
    most_drafted: int = MOST_DRAFTED  # tokens guessed for one request in one pass; 0: none
    guessed: int = 0  # tokens so far, of all requests
    right: int = 0  # of those
    _coming: list[_Coming] = field(default_factory=list)
    _rows: list[AnswerRow] = field(default_factory=list)
    _held: RowCache | None = None  # of the rows; the last token of each is not read yet
    _cost: PassCost = field(default_factory=PassCost)

    def __len__(self) -> int:
        return len(self._rows) + sum(len(coming.requests) for coming in self._coming)

    @property
    def num_bytes(self) -> int:
        """Bytes held for keys and values, spare room too, without shared prefixes; may be read from any
        thread.
        """
        held = self._held
        caches = [held and held.cache, *(coming.reading.cache for coming in tuple(self._coming))]
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
            self._join(first.requests, first.reading)
        else:
            self._coming.append(first)

    def _join(self, requests: Sequence[GenerationRequest], reading: PromptReading) -> None:
        read = RowCache(reading.cache, reading.mask)
        if self._held is None:
            self._held = read
        else:
            self._held.join(read)
        rows = [AnswerRow(self.model, request) for request in requests]
        _choose(rows, [[]] * len(rows), reading.logits[:, None])
        self._rows.extend(rows)

    @torch.inference_mode()
    def step(self) -> list[Piece]:
        """Reads a piece of a prompt where one waits, then tells the next token of each request that was
        read, or several where guesses were right; finished ones leave, the others are computed on.
        """
        self._read()
        if not self._rows:
            return []
        runs = [row.tell() for row in self._rows]
        keep = [i for i, run in enumerate(runs) if run[-1].finish is None]
        self._select(keep)
        if keep:
            self._decode()
        return [piece for run in runs for piece in run]

    def cancel(self, request_id: str) -> bool:
        """Drops a request at once and frees its memory; false where it is not here."""
        if self._cancel_coming(request_id):
            return True
        keep = [i for i, row in enumerate(self._rows) if row.request.id != request_id]
        found = len(keep) < len(self._rows)
        if found:
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

    def _decode(self) -> None:
        """Reads each row's last token and what is drafted behind it, and chooses what comes next."""
        started = time.perf_counter()
        drafts = self._drafts()
        width = 1 + max(map(len, drafts))
        read = [
            [row.chosen[-1], *draft, *[0] * (width - 1 - len(draft))]
            for row, draft in zip(self._rows, drafts, strict=True)
        ]
        ids = torch.tensor(read, device=self.model.device)
        starts = torch.tensor([[row.position] for row in self._rows], device=self.model.device)
        positions = starts + torch.arange(width, device=self.model.device)
        prefixes = [row.request.prefix for row in self._rows]
        assert self._held is not None
        held = self._held
        held.widen([1 + len(draft) for draft in drafts], width)
        logits = forward(self.model, ids, positions, held.cache, held.mask, prefixes, last=width)
        right = _choose(self._rows, drafts, logits)
        self._cost.learn(ids.numel(), time.perf_counter() - started)
        self.guessed += sum(map(len, drafts))
        self.right += sum(right) - len(right)
        for row, count in zip(self._rows, right, strict=True):
            row.position += count
        held.settle(right, width)
        held.pack(max(len(row.lookup) for row in self._rows))

    def _drafts(self) -> list[list[int]]:
        """What is guessed behind each row's last token: as much as pays, often nothing."""
        guesses = [row.guess(self.most_drafted) for row in self._rows]
        chances = [
            (len(guess), row.lookup.hits) for guess, row in zip(guesses, self._rows, strict=True)
        ]
        length = length_that_pays(chances, self._cost.overhead)
        return [guess[:length] for guess in guesses]

    def _select(self, keep: list[int]) -> None:
        if len(keep) == len(self._rows):
            return
        self._rows = [self._rows[i] for i in keep]
        if keep and self._held is not None:
            self._held.keep(keep)
        else:
            self._held = None


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


def _choose(
    rows: Sequence[AnswerRow], drafts: Sequence[list[int]], logits: torch.Tensor
) -> list[int]:
    """Chooses tokens for each row from logits [rows, 1 + longest draft, vocabulary]; says how many."""
    largest = logits.argmax(dim=-1).tolist()  # at once: each look at a device waits for it
    for row, draft, best, own in zip(rows, drafts, largest, logits, strict=True):
        row.choose(draft, best, own)
    return [len(row.chosen) for row in rows]
