"""What a distillation needs to go on after a kill: safetensors, no pickle."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """State after `step` steps: trained values, Adam's moments, and the best values so far."""

    step: int
    values: torch.Tensor
    mean: torch.Tensor
    square: torch.Tensor
    best: torch.Tensor
    best_kl: float

    @classmethod
    def take(
        cls,
        step: int,
        optimizer: torch.optim.Optimizer,
        values: torch.Tensor,
        best: torch.Tensor,
        best_kl: float,
    ) -> "Checkpoint":
        state = optimizer.state[values]
        return cls(step, values.detach(), state["exp_avg"], state["exp_avg_sq"], best, best_kl)

    def restore(self, optimizer: torch.optim.Optimizer, values: torch.Tensor) -> None:
        """Gives Adam its moments and step count back."""
        optimizer.state[values] = {
            "step": torch.tensor(float(self.step)),
            "exp_avg": self.mean.clone(),
            "exp_avg_sq": self.square.clone(),
        }

    def save(self, path: Path) -> None:
        """Replaces the file as a whole."""
        tensors = {
            "values": self.values,
            "mean": self.mean,
            "square": self.square,
            "best": self.best,
        }
        staging = path.with_suffix(".staging")
        save_file(
            {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
            staging,
            metadata={"step": str(self.step), "best_kl": repr(self.best_kl)},
        )
        staging.replace(path)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "Checkpoint | None":
        """The saved state, or None where there is none."""
        if not path.exists():
            return None
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            names = ("values", "mean", "square", "best")
            values, mean, square, best = (file.get_tensor(name).to(device) for name in names)
        return cls(int(metadata["step"]), values, mean, square, best, float(metadata["best_kl"]))
