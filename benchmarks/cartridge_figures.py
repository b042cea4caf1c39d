"""Cells to figures: rows pooled over seeds with bootstrap intervals, and the headline."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmarks.prefix_rows import Losses, interval, recovered, recovered_nll
from benchmarks.record import recorded

HEAD, PAPER = 64, 40  # 24 and 38.6 times smaller than a context of 1,541 tokens
LARGER_P = 106  # 38.6 times smaller than one of 4,101
_SETS = ("held_out", "people")
_TAKEN_OVER = {
    "cartridge_upkeep": (
        "fast_seconds", "off_topic_nll_ratio", "int8_loss_points", "refresh_cost_ratio",
    ),
    "cartridge_serving": ("ttft_ratio_8k", "memory_ratio", "throughput_ratio"),
}  # fmt: skip
Row = Mapping[str, Any]


def summarise(cells: Sequence[Row]) -> list[dict[str, object]]:
    """A row a corpus, length and way: what all its seeds recover together, with 95 % intervals."""
    baselines: dict[tuple[object, ...], Row] = {
        (r["corpus"], r["seed"], r["p"], r["row"]): r for r in cells
    }
    groups: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
    for row in cells:
        groups[row["corpus"], row["p"], row["row"]].append(row)
    return [
        _summary(name, rows, baselines)
        for name, rows in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1]))
    ]


def _summary(
    name: tuple[str, int, str], rows: Sequence[Row], known: Mapping[tuple[object, ...], Row]
) -> dict[str, object]:
    corpus, p, way = name
    tokens = rows[0]["context_tokens"]
    made: dict[str, object] = {
        "corpus": corpus, "p": p, "row": way, "seeds": len(rows), "context_tokens": tokens,
        "smaller": tokens / p, "seconds": fmean(row["seconds"] for row in rows),
        "device": ", ".join(sorted({row.get("device", "cpu") for row in rows})),
    }  # fmt: skip
    for part in _SETS:
        own, none, full = ([], [], [])  # type: tuple[list[Losses], list[Losses], list[Losses]]
        for row in rows:
            for found, which in ((own, way), (none, "none"), (full, "full")):
                base = known[corpus, row["seed"], p, which]
                found += [Losses(*each) for each in base[part]]
        if not own or way == "none":
            continue
        low, high = interval(own, none)
        made |= {
            f"{part}_recovered": recovered(own, none),
            f"{part}_low": low,
            f"{part}_high": high,
            f"{part}_recovered_nll": recovered_nll(own, none, full),
            f"{part}_gap": sum(x.kl for x in none) / sum(x.tokens for x in none),
            f"{part}_lessons": len(own) // len(rows),
        }
    answers = [row["answers"] for row in rows if "answers" in row]
    if answers:
        made["answers_right"] = fmean(answers)
    return made


def headline(rows: Sequence[Row]) -> dict[str, float | None]:
    """Means over the corpora, seconds over those done on a CPU; null where no corpus has such a row."""
    ways = {
        "match_24x": (HEAD, "match, refined"),
        "closed_form_24x": (HEAD, "match"),
        "distil_24x": (HEAD, "distil 300 from match, refined"),
        "truncate_distil_24x": (HEAD, "distil 300 from truncate"),
        "distil_38x": (PAPER, "distil 300 from match, refined"),
        "match_38x_of_4k": (LARGER_P, "match, refined"),
        "distil_38x_of_4k": (LARGER_P, "distil 300 from match, refined"),
    }
    found: dict[str, float | None] = {}
    for name, (p, way) in ways.items():
        for part, ending in zip(_SETS, ("heldout", "human"), strict=True):
            found[f"{name}_{ending}"] = mean_of(rows, p, way, f"{part}_recovered")
    for name, (p, way) in ways.items():
        own = [row for row in rows if (row["p"], row["row"]) == (p, way)]
        found[f"{name}_corpora"] = float(len(own))
    on_cpu = [row for row in rows if row["device"] == "cpu"]
    found["match_seconds"] = mean_of(on_cpu, HEAD, "match, refined", "seconds")
    found["distil_seconds"] = mean_of(on_cpu, HEAD, "distil 300 from match, refined", "seconds")
    for benchmark, figures in _TAKEN_OVER.items():
        found |= {figure: recorded(benchmark, figure) for figure in figures}
    return found


def mean_of(rows: Sequence[Row], p: int, way: str, figure: str) -> float | None:
    """The mean of a figure over the corpora that have the row."""
    values = [row[figure] for row in rows if (row["p"], row["row"]) == (p, way) and figure in row]
    return fmean(values) if values else None
