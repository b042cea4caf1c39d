"""How the next token is chosen."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Settings of one answer; temperature 0 is greedy. Equal seeds give equal answers."""

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if not 0.0 <= self.temperature <= 5.0:
            raise ValueError(f"temperature is {self.temperature}; it must lie in 0..5")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p}; it must lie above 0 and be at most 1")


def generator_of(params: SamplingParams) -> torch.Generator:
    """The source of chance of one answer, on the CPU so that every device draws alike."""
    return torch.Generator().manual_seed(params.seed)


def choose_token(logits: torch.Tensor, params: SamplingParams, chance: torch.Generator) -> int:
    """One token from logits [vocabulary]: the largest, or drawn from the nucleus (Holtzman 2020)."""
    if params.temperature == 0.0:
        return int(logits.argmax())
    ordered, order = torch.softmax(logits.float() / params.temperature, dim=-1).sort(
        descending=True
    )
    inside = int((ordered.cumsum(-1) - ordered < params.top_p).sum())
    # Drawn on the CPU from what the device sorted: a vocabulary is slow to sort there.
    nucleus = ordered[: max(1, inside)].cpu()
    return int(order[int(torch.multinomial(nucleus, 1, generator=chance))])
