"""The train job: an indexed corpus to a stored cartridge."""

import shutil
from collections.abc import Generator, Mapping
from dataclasses import replace

from cartridges.build import BuildReport, BuildSettings, CartridgeBuilder
from cartridges.manifest import CartridgeError
from cartridges.store import BuiltPart, store_cartridge
from engine.model import LanguageModel
from service.config import Layout
from service.errors import fail
from service.library import ResidentCorpus
from service.state.cartridge_shelf import CartridgeShelf
from service.state.corpus import Corpus

RESERVE = 512  # tokens of the window that questions and answers behind the corpus need


def build_settings(request: Mapping[str, object]) -> BuildSettings:
    """The recipe of a train request; zeros and absences take the defaults."""
    settings = BuildSettings()
    wished = {name: int(str(request.get(name) or 0)) for name in ("prefix_tokens", "conversations")}
    study, distil = settings.study, settings.distil
    if wished["conversations"]:
        study = replace(study, conversations=wished["conversations"])
    if "max_steps" in request and int(str(request["max_steps"] or 0)):
        distil = replace(distil, steps=int(str(request["max_steps"])))
    seconds = float(str(request.get("time_budget_seconds") or 0.0))
    return replace(
        settings,
        prefix_tokens=wished["prefix_tokens"],
        study=study,
        distil=distil,
        seconds=seconds,
    )


class Trainer:
    """Trains cartridges; a killed job goes on in the same work folder."""

    def __init__(self, model: LanguageModel, layout: Layout, shelf: CartridgeShelf) -> None:
        self._model, self._layout, self._shelf = model, layout, shelf

    def train(
        self, job_id: str, cartridge_id: str, corpus: Corpus, resident: ResidentCorpus,
        settings: BuildSettings,
    ) -> Generator[BuildReport, None, None]:  # fmt: skip
        """Reports as the build goes; at the end the cartridge lies in its place and is READY.

        Raises:
            ServiceError: CARTRIDGE_CORPUS_TOO_LONG where the text does not fit the model's window,
                CARTRIDGE_CORPUS_TOO_SMALL where there is nothing in it to learn.
        """
        window = self._model.geometry.window
        if resident.context_tokens + RESERVE > window:
            raise fail(
                "CARTRIDGE_CORPUS_TOO_LONG",
                f"the corpus has {resident.context_tokens} tokens and the window holds {window}, of "
                f"which {RESERVE} are kept for questions; train on a part of it, or ask by "
                "infini_retri or crag",
                field="parent",
            )
        work = self._layout.work / job_id
        builder = CartridgeBuilder(self._model, resident.sentences(), work, settings)
        try:
            built = yield from builder.build()
        except CartridgeError as error:
            raise fail(error.reason, str(error), field="parent") from error
        folder = self._layout.cartridge(corpus.id, cartridge_id)
        for left in folder.parent.glob(f".{folder.name}.staging-*"):  # of a worker that was killed
            shutil.rmtree(left, ignore_errors=True)
        windows = tuple(w.digest for each in resident.catalog.documents for w in each.windows)
        part = BuiltPart(built.prefix, windows, settings.distil.frozen, built.metrics)
        manifest = store_cartridge(
            folder, self._model, [part], resident.catalog.corpus_digest, builder.recipe(),
            built.metrics,
        )  # fmt: skip
        self._shelf.mark_ready(
            corpus.id,
            cartridge_id,
            prefix_tokens=manifest.prefix_tokens,
            query_offset=manifest.query_offset,
            size_bytes=sum(path.stat().st_size for path in folder.iterdir()),
            corpus_digest=manifest.corpus_digest,
            tensor_digest=manifest.tensor_digest,
            metrics=manifest.metrics,
        )
