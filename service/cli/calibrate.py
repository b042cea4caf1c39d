"""`longmemory calibrate`: which attention heads of a model find evidence, by planted facts."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import (
    DEFAULT_DATA,
    DataOption,
    JsonOption,
    errors_told,
    print_json,
    print_table,
    stop,
)
from service.client.types import ErrorReport

if TYPE_CHECKING:
    from retrieval.calibration import Calibration, PlantedText


def calibrate(
    model: Annotated[
        str, typer.Option("--model", help="A folder, a hub id, or the default model.")
    ] = "",
    text: Annotated[
        str, typer.Option("--text", metavar="SOURCE", help="essays, stdlib, or a folder of texts.")
    ] = "auto",
    facts: Annotated[int, typer.Option("--facts", min=8, help="Facts to plant.")] = 96,
    characters: Annotated[
        int, typer.Option("--characters", min=4000, help="Text to plant them in.")
    ] = 60_000,
    seed: Annotated[int, typer.Option("--seed", help="Other seeds plant other facts.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda.")] = "auto",
    threads: Annotated[int, typer.Option("--threads", min=0, help="0 takes all cores.")] = 0,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Find a model's retrieval heads; the result is used from the next start of the server on."""
    from rich.console import Console

    from engine.config import DEFAULT_MODEL, EngineConfig
    from engine.embedding import Embedder
    from engine.errors import EngineError
    from engine.model import LanguageModel
    from evaluation.haystack_texts import HaystackError
    from retrieval.calibration import calibrate as search
    from service.config import Layout

    folder = data.expanduser()
    console = Console(stderr=True, quiet=as_json)
    try:
        planted = plant_facts(text, characters, facts, seed)
        with console.status("loading the model") as status:
            loaded = LanguageModel.load(
                EngineConfig(folder, model or DEFAULT_MODEL, device, "auto", threads)
            )
            embedder = Embedder.load(device=loaded.device.type)
            found = search(loaded, embedder, planted, say=status.update)
    except (EngineError, HaystackError, ValueError) as error:
        stop(ErrorReport("FAILED_PRECONDITION", "CALIBRATION_FAILED", str(error)), as_json)
    path = Layout(folder).calibrations / f"{loaded.fingerprint}.json"
    with errors_told(as_json):
        written = store(path, found, loaded.name, seed, folder)
    if as_json:
        print_json(written | {"path": str(path)})
        return
    _show(found, path)


def plant_facts(source: str, characters: int, count: int, seed: int) -> PlantedText:
    """Real text with invented facts of every single-sentence kind at random places of it."""
    from evaluation.haystack import read_haystack
    from evaluation.needles import make_needle
    from retrieval.calibration import PlantedText
    from retrieval.sentences import split_sentences

    chance = random.Random(f"calibrate/{seed}")
    sentences = [
        span.of(text)
        for _, text in read_haystack(source, characters).documents
        for span in split_sentences(text)
    ]
    planted = []
    for number in range(count):
        needle = make_needle(("fact", "number", "moment", "lookalike")[number % 4], chance)
        planted.append((needle.sentences[0], needle.question))
        for lookalike in needle.lookalikes:
            sentences.insert(chance.randrange(len(sentences) + 1), lookalike)
    for sentence, _ in planted:
        sentences.insert(chance.randrange(len(sentences) + 1), sentence)
    places = {sentence: i for i, sentence in enumerate(sentences)}
    return PlantedText(
        tuple(sentences), tuple((places[sentence], question) for sentence, question in planted)
    )


def store(
    path: Path, found: Calibration, name: str, seed: int, root: Path | None = None
) -> dict[str, object]:
    """Writes a calibration where servers of this data folder look for it; returns what it wrote."""
    from dataclasses import asdict

    from engine.plain_folder import staged

    written: dict[str, object] = {"name": name, **found.heads.as_json(), "seed": seed}
    written["measured"] = [asdict(row) for row in found.rows]
    with staged(path, root) as staging:
        staging.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return written


def _show(found: Calibration, path: Path) -> None:
    def listed(heads: object) -> str:
        return " ".join(f"{head.layer}.{head.head}" for head in heads)  # type: ignore[attr-defined]

    print_table(
        ("way to score", "recall@1", "recall@5", "in 256 tokens", "MRR"),
        [
            (
                row.name,
                f"{row.recall_at_1:.3f}",
                f"{row.recall_at_5:.3f}",
                f"{row.recall_at_budget:.3f}",
                f"{row.mrr:.3f}",
            )
            for row in found.rows
        ],
    )
    typer.echo(f"\nsearch heads (layer.head):   {listed(found.heads.search)}")
    typer.echo(f"a sentence's keys pooled by: {found.heads.pooling}")
    typer.echo(f"weight of the embedder:      {found.heads.dense:g}")
    typer.echo(f"stored: {path}; start the server anew and index the corpora again")
