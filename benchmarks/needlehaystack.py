"""The published `needlehaystack` 2.x scores us through the HTTP door, as it scores any other model.

Its own needle, essays and scorer; the whole haystack comes in the prompt, so `memory` reads it as
inline text. It wants Python 3.12 and gets an environment of its own. `python -m
benchmarks.needlehaystack --data .work/data --python python3.12` writes `results/needlehaystack.json`
and a heat map.
"""

import argparse
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.peer_environment import peer_python
from benchmarks.record import RESULTS, write_result
from evaluation.heat_map import draw_heat_map
from evaluation.server_process import running_server

LENGTHS = (2000, 8000, 16000)  # in needlehaystack's tokens, cl100k
DEPTHS = (0, 50, 100)
ANSWER_TOKENS = 48
BYTE_PAIRS = "*/site-packages/llama_index/core/_static/tiktoken_cache"  # else tiktoken fetches them


def run_config(folder: Path, lengths: Sequence[int], depths: Sequence[int]) -> Path:
    """The files that `niah run` reads, in JSON, which is YAML."""
    model = {
        "id": "longmemory",
        "runtime": {"sdk": "openai-python", "api": "chat_completions"},
        "client": {"api_key_env": "OPENAI_API_KEY"},
        "request": {"model": "memory", "max_tokens": ANSWER_TOKENS, "temperature": 0.0},
    }
    run = {
        "run_name": "longmemory",
        "model": str(folder / "model.yaml"),
        "task": {"type": "single"},
        "haystack": {"type": "files", "path": "PaulGrahamEssays"},
        "sweep": {"context_lengths": list(lengths), "depth_percents": list(depths)},
        "runner": {"concurrency": 1},
        "store": {"type": "jsonl", "path": str(folder / "cells.jsonl")},
    }
    (folder / "model.yaml").write_text(json.dumps(model), encoding="utf-8")
    (folder / "run.yaml").write_text(json.dumps(run), encoding="utf-8")
    return folder / "run.yaml"


def score(python: Path, door: str, config: Path) -> list[dict[str, Any]]:
    """needlehaystack's own cells, as it wrote them."""
    (byte_pairs,) = (python.parents[1] / "lib").glob(BYTE_PAIRS)
    told = {"OPENAI_BASE_URL": f"http://{door}/v1", "OPENAI_API_KEY": "none"}
    told["TIKTOKEN_CACHE_DIR"] = str(byte_pairs)
    command = [str(python.parent / "niah"), "run", str(config)]
    subprocess.run(command, check=True, env=os.environ | told, cwd=config.parent)
    lines = (config.parent / "cells.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def as_row(cell: dict[str, Any]) -> dict[str, object]:
    """What is kept of a cell; an error scores 0 and stays visible."""
    return {
        "context_tokens": cell["context_length"],
        "depth_percent": cell["target_depth_percent"],
        "score": cell["score"]["value"] if cell["score"] else 0.0,
        "status": cell["status"],
        "error": cell["error"],
        "expected": cell["expected_answer"],
        "response": cell["response"],
        "seconds": cell["duration_seconds"],
    }


def picture(rows: Sequence[dict[str, object]]) -> bytes:
    cells = {(f"{row['depth_percent']:.0f} %", f"{row['context_tokens']}"): row for row in rows}
    return draw_heat_map(
        {place: float(str(row["score"])) for place, row in cells.items()},
        list(dict.fromkeys(depth for depth, _ in sorted(cells, key=lambda one: int(one[0][:-2])))),
        list(dict.fromkeys(length for _, length in sorted(cells, key=lambda one: int(one[1])))),
        "needlehaystack 2: one needle, scored through the HTTP door",
        "tokens (cl100k)",
        "depth",
    )


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.needlehaystack", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--python", default="python3.12", help="an interpreter from 3.12 on")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    given = parser.parse_args()
    # It names makers of other models' clients too, which a run with OpenAI's does not import.
    environment = (given.data / "peers" / "needlehaystack").absolute()
    python = peer_python(environment, "needlehaystack", given.python, ["--no-deps"])
    door, log = free_address(), given.data / "logs" / "bench.log"
    options = ("--http", door, "--threads", str(given.threads))
    with tempfile.TemporaryDirectory() as folder, running_server(given.data, log, *options):
        cells = score(python, door, run_config(Path(folder), given.lengths, given.depths))
    rows = [as_row(cell) for cell in cells]
    headline: dict[str, float | None] = {
        "cells": float(len(rows)),
        "mean_score": mean(float(str(row["score"])) for row in rows),
        "errors": float(sum(row["status"] != "ok" for row in rows)),
        "longest_tokens": float(max(given.lengths)),
    }
    print(write_result("needlehaystack", rows, headline))
    (RESULTS / "needlehaystack.png").write_bytes(picture(rows))


if __name__ == "__main__":
    main()
