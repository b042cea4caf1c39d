"""The model that a benchmark runs with, as its command line tells."""

import argparse
from pathlib import Path

from engine.config import EngineConfig


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """`--data`, `--threads`, `--device` and `--dtype`; one thread, since others may be at work."""
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--dtype", default="auto", help="float32, bfloat16, float16 or auto")


def engine_config(given: argparse.Namespace) -> EngineConfig:
    """The default model with what the flags say."""
    return EngineConfig(given.data, device=given.device, dtype=given.dtype, threads=given.threads)
