"""Keys in eight bits: one scale a token and head, so that a row of keys is 64 bytes instead of 256."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class QuantisedKeys:
    """Keys of G heads and T tokens with D dimensions: `values * scales[..., None]`."""

    values: torch.Tensor  # int8 [G, T, D]
    scales: torch.Tensor  # float32 [G, T]

    @property
    def num_tokens(self) -> int:
        return self.values.shape[1]

    def restored(self) -> torch.Tensor:
        """The keys as float32 [G, T, D]; each is off by half a scale at most."""
        return self.values.float() * self.scales[..., None]


def quantise(keys: torch.Tensor) -> QuantisedKeys:
    """Symmetric rounding of keys [G, T, D] to the largest magnitude of each row."""
    keys = keys.float()
    scales = keys.abs().amax(dim=-1).clamp(min=1e-12) / 127.0
    values = (keys / scales[..., None]).round().to(torch.int8)
    return QuantisedKeys(values.cpu(), scales.cpu())
