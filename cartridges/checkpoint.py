"""What a distillation needs to go on after a kill: safetensors, no pickle."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engine.plain_file import plain_path
from engine.plain_folder import staged

_TENSORS = ("change", "mean", "square", "best", "curve")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """State after `step` steps: what is trained, Adam's moments, and the best so far.

    `stale` counts the measurements since then. `curve` is [step, 3]: loss, held-out KL or NaN where it
    was not measured, and tokens read, of every step.
    """

    step: int
    change: torch.Tensor
    mean: torch.Tensor
    square: torch.Tensor
    best: torch.Tensor
    curve: torch.Tensor
    best_kl: float
    stale: int

    @property
    def tokens(self) -> int:
        """Tokens that the student has read."""
        return int(self.curve[:, 2].sum())

    def losses(self) -> tuple[float, ...]:
        return tuple(self.curve[:, 0].tolist())

    def measured(self) -> list[tuple[int, float]]:
        """Steps behind which held-out KL was measured, and what it was."""
        steps = torch.nonzero(~self.curve[:, 1].isnan())[:, 0].tolist()
        return [(step + 1, float(self.curve[step, 1])) for step in steps]

    @classmethod
    def take(
        cls,
        step: int,
        optimizer: torch.optim.Optimizer,
        change: torch.Tensor,
        best: torch.Tensor,
        curve: torch.Tensor,
        best_kl: float,
        stale: int,
    ) -> "Checkpoint":
        state = optimizer.state[change]
        moments = state["exp_avg"], state["exp_avg_sq"]
        return cls(step, change.detach(), *moments, best, curve, best_kl, stale)

    @torch.no_grad()
    def restore(self, optimizer: torch.optim.Optimizer, change: torch.Tensor) -> None:
        """Gives the trained tensor its entries back, and Adam its moments and step count."""
        change.copy_(self.change)
        optimizer.state[change] = {
            "step": torch.tensor(float(self.step)),
            "exp_avg": self.mean.clone(),
            "exp_avg_sq": self.square.clone(),
        }

    def save(self, path: Path) -> None:
        """Replaces the file as a whole."""
        tensors = {name: getattr(self, name).contiguous().cpu() for name in _TENSORS}
        said = {
            "step": str(self.step),
            "best_kl": repr(self.best_kl),
            "stale": str(self.stale),
        }
        with staged(path, point="checkpoint") as staging:
            save_file(tensors, staging, metadata=said)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "Checkpoint | None":
        """The saved state, or None where there is none."""
        try:
            with plain_path(path) as plain, safe_open(plain, framework="pt") as file:
                said = file.metadata()
                tensors = {name: file.get_tensor(name).to(device) for name in _TENSORS}
        except FileNotFoundError:
            return None
        return cls(
            step=int(said["step"]),
            best_kl=float(said["best_kl"]),
            stale=int(said["stale"]),
            **tensors,
        )
