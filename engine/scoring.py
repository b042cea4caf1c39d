"""Teacher forcing: what the model thinks of answers it is shown, after one shared prefix.

Several conversations are packed into one row behind one copy of the prefix; a block mask keeps them
apart. Nothing is padded and the prefix is never repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from engine.attention import Enough, Tap
from engine.errors import EngineError
from engine.model import LanguageModel
from engine.prefix import KVPrefix, joined_cache


@dataclass(frozen=True, slots=True)
class Turn:
    """What follows a prefix: the question's ids (not scored) and the answer's ids (scored)."""

    question: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.question) + len(self.answer)


def answer_logits(
    model: LanguageModel, turns: Sequence[Turn], prefix: KVPrefix | None
) -> torch.Tensor:
    """Logits of every answer token of every turn, in order: [sum of answer lengths, vocabulary].

    Gradients flow into the prefix where it requires them.
    """
    return project(model, answer_states(model, turns, prefix))


def answer_states(
    model: LanguageModel, turns: Sequence[Turn], prefix: KVPrefix | None
) -> torch.Tensor:
    """Final hidden states that predict each answer token: [sum of answer lengths, hidden]."""
    output = model.network.model(**_packed(model, turns, prefix))
    states: torch.Tensor = output.last_hidden_state[0, _answer_rows(turns)]
    return states


def project(model: LanguageModel, states: torch.Tensor) -> torch.Tensor:
    """Hidden states [rows, hidden] to logits [rows, vocabulary] in float32.

    Never in mixed precision: a logit of 20 in bfloat16 is off by up to 0.06.
    """
    with torch.autocast(model.device.type, enabled=False):
        logits: torch.Tensor = model.network.lm_head(states.to(model.dtype))
    return logits.float()


@torch.inference_mode()
def tap_turns(
    model: LanguageModel, turns: Sequence[Turn], prefix: KVPrefix | None, layers: Sequence[int]
) -> Tap:
    """Rotated queries and keys of the turns' own tokens (keys: behind the prefix's)."""
    tap = Tap(frozenset(layers))
    try:
        model.network.model(**_packed(model, turns, prefix), tap=tap)
    except Enough:
        return tap
    raise EngineError(f"the model has no layer {max(layers)}")


@torch.inference_mode()
def answer_nll(model: LanguageModel, turns: Sequence[Turn], prefix: KVPrefix | None) -> list[float]:
    """Mean negative log-likelihood of each turn's answer, in nats a token."""
    logits = answer_logits(model, turns, prefix)
    targets = torch.tensor([i for turn in turns for i in turn.answer], device=model.device)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return [float(part.mean()) for part in losses.split([len(turn.answer) for turn in turns])]


def pack_by_tokens(turns: Sequence[Turn], most: int) -> list[list[Turn]]:
    """Groups turns in order into packs of at most `most` tokens (one turn at least in each)."""
    packs: list[list[Turn]] = []
    room = 0
    for turn in turns:
        if not packs or turn.length > room:
            packs.append([])
            room = most
        packs[-1].append(turn)
        room -= turn.length
    return packs


def _packed(model: LanguageModel, turns: Sequence[Turn], prefix: KVPrefix | None) -> dict[str, Any]:
    """The network's arguments for one packed pass."""
    offset, past = (prefix.query_offset, prefix.length) if prefix else (0, 0)
    ids = [token for turn in turns for token in (*turn.question, *turn.answer)]
    positions = [offset + i for turn in turns for i in range(turn.length)]
    return {
        "input_ids": torch.tensor([ids], device=model.device),
        "position_ids": torch.tensor([positions], device=model.device),
        "attention_mask": block_mask(turns, past).to(model.device),
        "past_key_values": joined_cache(prefix.keys, prefix.values) if prefix else None,
        "use_cache": prefix is not None,
    }


def _answer_rows(turns: Sequence[Turn]) -> list[int]:
    """Rows of the pack whose states predict an answer token."""
    rows: list[int] = []
    start = 0
    for turn in turns:
        first = start + len(turn.question) - 1
        rows.extend(range(first, first + len(turn.answer)))
        start += turn.length
    return rows


def block_mask(turns: Sequence[Turn], past: int) -> torch.Tensor:
    """Boolean [1, 1, tokens, past + tokens]: the prefix, and what came before in one's own turn."""
    owner = torch.repeat_interleave(
        torch.arange(len(turns)), torch.tensor([turn.length for turn in turns])
    )
    total = len(owner)
    own = (owner[:, None] == owner[None, :]) & torch.ones(total, total, dtype=torch.bool).tril()
    return torch.cat([torch.ones(total, past, dtype=torch.bool), own], dim=1)[None, None]
