"""One answer as it is decoded: what is asked, what is told of it step by step, its row of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import torch

from engine.detokenizer import Detokenizer
from engine.drafting import PromptLookup
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.quotation import Quotation, QuotedLine
from engine.sampling import SamplingParams, choose_token, generator_of


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, eq=False)
class GenerationRequest:
    """One answer to make: `prompt` continues `prefix` at its query offset.

    Where there are `quoted` lines the answer is made of them alone; the first token of its first line,
    equal in all of them, is the last of the prompt.
    """

    id: str
    prompt: tuple[int, ...]
    prefix: KVPrefix | None = None
    params: SamplingParams = field(default_factory=SamplingParams)
    quoted: tuple[QuotedLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of one request: its token, the text that became certain, and why it ended, if it did."""

    request_id: str
    token: int
    text: str
    finish: FinishReason | None


class AnswerRow:
    """A request whose prompt is read: the tokens that are chosen and not told yet, and what comes next.

    All but the last of `chosen` are read already; `position` is that of the next token to read.
    """

    def __init__(self, model: LanguageModel, request: GenerationRequest) -> None:
        self.request, self.lookup = request, PromptLookup(request.prompt)
        self.chosen: list[int] = []
        start = request.prefix.query_offset if request.prefix else 0
        self.position = start + len(request.prompt)
        self._told = 0
        self._stop_ids = model.stop_ids
        self._quotation = Quotation.of(request.quoted, model.stop_ids) if request.quoted else None
        self._detokenizer = Detokenizer(model, request.params.stop)
        self._chance = generator_of(request.params)

    def choose(self, draft: Sequence[int], largest: Sequence[int], logits: torch.Tensor) -> None:
        """Chooses what follows the last token and each token of a draft, up to the first choice that is
        not the drafted one: `logits` are [1 + longest draft, vocabulary], `largest` their largest.
        """
        self.chosen = []
        for place in range(1 + len(draft)):
            token = self._next(largest[place], logits[place])
            self.chosen.append(token)
            self.lookup.push(token)
            if token not in draft[place : place + 1] or token in self._stop_ids:
                break
        self.lookup.learn(len(self.chosen) - 1, len(draft))

    def tell(self) -> list[Piece]:
        """A piece for each token that was chosen, up to the one that ends the answer."""
        pieces: list[Piece] = []
        for token in self.chosen:
            pieces.append(self._piece(token))
            if pieces[-1].finish is not None:
                break
        return pieces

    def guess(self, most: int) -> list[int]:
        """Up to `most` tokens that may follow the last chosen one, as far as the answer may still go."""
        left = self.request.params.max_tokens - self._told
        return (self._quotation or self.lookup).guess(max(0, min(most, left - 1)))

    def _next(self, largest: int, logits: torch.Tensor) -> int:
        """What follows, given logits [vocabulary] and the largest's token."""
        params = self.request.params
        if self._quotation is None:
            return largest if not params.temperature else choose_token(logits, params, self._chance)
        options = self._quotation.options
        token = options[0]
        if len(options) > 1:
            own = torch.tensor(options, device=logits.device)
            token = options[choose_token(logits[own], params, self._chance)]
        self._quotation = self._quotation.after(token)
        return token

    def _piece(self, token: int) -> Piece:
        self._told += 1
        name, finish = self.request.id, None
        if token in self._stop_ids:
            return Piece(name, token, self._detokenizer.finish(), FinishReason.STOP)
        text = self._detokenizer.push(token)
        if self._detokenizer.stopped:
            finish = FinishReason.STOP
        elif self._told >= self.request.params.max_tokens:
            text += self._detokenizer.finish()
            finish = FinishReason.LENGTH
        return Piece(name, token, text, finish)
