"""The published package `infini-retri` 0.0.3 on our cases: what it keeps, answers and costs.

Stands alone: it imports nothing of this project and runs in an environment of its own, made from
`infini_retri.lock`: the package declares only transformers, the rest is what its modules import.

    python benchmarks/peers/infini_retri_package.py IN.json OUT.jsonl

tiktoken is imported for a type check alone: its cl100k file is never asked for.

IN.json: {"model": folder, "threads": n, "cases": [{"id", "text", "question", "answers", "gold"}]};
"settings" may change the package's defaults (see `DEFAULTS`). OUT.jsonl: versions and settings in the
first line, then a line a case. A case that raises becomes a line with "error", and the next one is run.

The package is used as its README says: eager attention, the default prompt, `generate(context,
question)`. Greedy, in float32, on the CPU.
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from infini_retri import InfiniRetri  # type: ignore[import-not-found,unused-ignore]
from transformers import AutoModelForCausalLM, AutoTokenizer

PACKAGES = ("infini-retri", "torch", "transformers", "numpy", "scipy")
DEFAULTS = {"window_length": 1024, "topk": 300, "answer_length": 8, "max_new_tokens": 128}


@dataclass
class Watch:
    """What the package does not return: the text it kept, the windows it read, the answer's cost."""

    data: dict[str, str] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    windows: list[int] = field(default_factory=list)  # tokens of each merged input
    answering: float = 0.0  # CPU-seconds

    def clear(self) -> None:
        self.data, self.info, self.windows, self.answering = {}, {}, [], 0.0


def watched(package: Any, model: Any) -> Watch:
    """Hangs a watch on one InfiniRetri: nothing that it computes changes."""
    watch = Watch()
    run, answer = package.ir.generate2, model.generate

    def keeping_run(data_dict: dict[str, str], **options: Any) -> Any:
        watch.data = data_dict  # the package replaces "context" by what it keeps
        response, watch.info = run(data_dict=data_dict, **options)
        return response, watch.info

    def timed_answer(*arguments: Any, **options: Any) -> Any:
        start = cpu_seconds()
        try:
            return answer(*arguments, **options)
        finally:
            watch.answering = cpu_seconds() - start

    def count_window(module: Any, arguments: Any, options: dict[str, Any]) -> None:
        if options.get("output_attentions"):
            watch.windows.append(int(options["input_ids"].shape[1]))

    package.ir.generate2, model.generate = keeping_run, timed_answer
    model.register_forward_pre_hook(count_window, with_kwargs=True)
    return watch


def load(folder: str, settings: dict[str, int]) -> tuple[Any, Watch]:
    """The package over a model as its README sets it up."""
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    )
    # The package passes a temperature and leaves the rest to the model's own settings.
    model.generation_config.do_sample = False
    package = InfiniRetri(
        model,
        AutoTokenizer.from_pretrained(folder),
        topk=settings["topk"],
        answer_length=settings["answer_length"],
        window_length=settings["window_length"],
    )
    return package, watched(package, model)


def row(package: Any, watch: Watch, case: dict[str, Any], max_new_tokens: int) -> dict[str, Any]:
    """One case. Costs are of the whole call; `answer_cpu_seconds` is the part spent generating."""
    watch.clear()
    reset_peak()
    said = io.StringIO()  # it prints the reason of a failed check before it raises another error
    wall, cpu = time.perf_counter(), cpu_seconds()
    result: dict[str, Any]
    try:
        with contextlib.redirect_stdout(said):
            answer = package.generate(
                context=case["text"], question=case["question"], max_new_tokens=max_new_tokens
            )
        result = outcome(case, watch.data["context"], answer)
        result["kept_prompt_tokens"] = watch.info["input_token_length"]
        result["text_tokens"] = watch.info["origin_token_length"]
    except Exception as error:  # whatever it is, it is a result of the peer's
        result = {"error": f"{type(error).__name__}: {error}", "said": said.getvalue()[-500:]}
    return {
        "id": case["id"],
        **result,
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": cpu_seconds() - cpu,
        "answer_cpu_seconds": watch.answering,
        "windows": len(watch.windows),
        "longest_window": max(watch.windows, default=0),
        "peak_rss_mb": memory_mb("VmHWM"),
    }


def outcome(case: dict[str, Any], kept: str, answer: str) -> dict[str, Any]:
    """`found`: the planted sentence is in the text kept; `right`: the answer holds an accepted one."""
    return {
        "kept": kept,
        "answer": answer,
        "found": squeezed(case["gold"]) in squeezed(kept),
        "right": any(one.casefold() in answer.casefold() for one in case["answers"]),
    }


def squeezed(text: str) -> str:
    """White space collapsed: the package joins sentences as it pleases."""
    return " ".join(text.split())


def cpu_seconds() -> float:
    """User and system time of this process, all its threads and its finished children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def memory_mb(name: str) -> float:
    """VmRSS (now) or VmHWM (the most since the last reset), in MB of 1024 kB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


def reset_peak() -> None:
    """Peak memory counts from here; where the kernel forbids it, from the process's start."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def rows(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The first line, then one row a case as soon as it is done."""
    torch.set_num_threads(task["threads"])
    settings = DEFAULTS | task.get("settings", {})
    package, watch = load(task["model"], settings)
    yield {
        "versions": versions(),
        "settings": settings,
        "threads": torch.get_num_threads(),
        "loaded_rss_mb": memory_mb("VmRSS"),
    }
    for case in task["cases"]:
        yield row(package, watch, case, settings["max_new_tokens"])


def write(found: Iterator[dict[str, Any]], out: Path, say: Callable[[str], object]) -> None:
    with out.open("w", encoding="utf-8") as file:
        for one in found:
            file.write(json.dumps(one, ensure_ascii=False) + "\n")
            file.flush()
            if "id" in one:
                failed = one.get("error", "")
                say(f"{one['id']}: {one['cpu_seconds']:.1f} CPU-seconds {failed}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    task = json.loads(given.task.read_text(encoding="utf-8"))
    write(rows(task), given.out, sys.stderr.write)


if __name__ == "__main__":
    main()
