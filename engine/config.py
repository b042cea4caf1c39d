"""What the engine is told: which model, on which device, in which precision, with how many threads."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

DEFAULT_MODEL = "smollm2-135m-instruct"


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Settings of one loaded language model.

    `model` is `DEFAULT_MODEL` (from its wheel), a local folder, or a hub id. `device` and `dtype`
    may be `auto`. `threads` is torch's intra-op count; 0 leaves it to the machine (half the cores).
    """

    data: Path
    model: str = DEFAULT_MODEL
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ValueError(f"threads is {self.threads}; use 0 for automatic or a positive count")
        if self.dtype not in {"auto", "float32", "bfloat16", "float16"}:
            raise ValueError(f"dtype is {self.dtype!r}; use auto, float32, bfloat16 or float16")


@dataclass(frozen=True, slots=True)
class Precision:
    """A dtype with the reason it was chosen. Where it `mixes`, training and indexing multiply in
    bfloat16, and all that answers or measures does not.
    """

    dtype: torch.dtype
    reason: str
    mixes: bool = False


def resolve_device(wish: str) -> torch.device:
    """The device to run on: the wish itself, or CUDA, then MPS, then CPU for `auto`."""
    if wish != "auto":
        return torch.device(wish)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


def resolve_precision(wish: str, device: torch.device) -> Precision:
    """bfloat16 on GPUs that have it; on CPUs float32, mixed where there are instructions for it."""
    if wish != "auto":
        return Precision(getattr(torch, wish), "set by the caller")
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return Precision(torch.bfloat16, "the GPU computes bfloat16")
    if device.type == "cuda":
        return Precision(torch.float16, "the GPU lacks bfloat16")
    if device.type == "cpu" and _multiplies_bfloat16():
        return Precision(torch.float32, "the CPU multiplies bfloat16; answers stay exact", True)
    return Precision(torch.float32, "float32 is the fastest exact type on a CPU")


def _multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for products of bfloat16 matrices; emulated they are slower."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def resolve_threads(wish: int) -> int:
    """The wished count, or half the cores: the other half stays for whoever works beside us."""
    return wish or max(1, (os.cpu_count() or 2) // 2)
