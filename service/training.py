"""The train job: an indexed corpus to a stored cartridge, part by part."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from cartridges.build import BuildReport, BuildSettings, Built, CartridgeBuilder
from cartridges.costs import break_even
from cartridges.effort import Effort, settings_for
from cartridges.general import load_questions
from cartridges.guard import calibrate_guard
from cartridges.manifest import CartridgeError, Manifest
from cartridges.progress import relay
from cartridges.refresh import Base, base_of
from cartridges.store import BuiltPart, load_cartridge, load_studied, read_manifest, store_cartridge
from engine.embedding import Embedder
from engine.fail_point import fail_point
from engine.model import LanguageModel
from engine.plain_file import opened_folder
from engine.prompts import Prompter
from service.cartridge_places import clear_older, find_place, keep_place
from service.config import Layout
from service.errors import fail
from service.library import ResidentCorpus
from service.parts import PART_TOKENS, RESERVE, CorpusPart, changed_sentences, cut_parts
from service.removal import remove_tree
from service.state.cartridge_shelf import CartridgeShelf
from service.state.corpus import Corpus


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What was asked for: a recipe, how the corpus is cut, and the cartridge to start from."""

    cartridge_id: str
    settings: BuildSettings
    part_tokens: int = PART_TOKENS
    base: str = ""  # id of another cartridge of the corpus
    seconds: float = 0.0  # for all parts together; 0: what the recipe gives each

    @classmethod
    def of(cls, request: Mapping[str, object]) -> "TrainRequest":
        """From the fields of a job; zeros and absences take the defaults."""

        def whole(name: str) -> int:
            return int(str(request.get(name) or 0))

        settings = settings_for(Effort(str(request.get("effort") or Effort.FAST)))
        study, distil = settings.study, settings.distil
        if whole("conversations"):
            study = replace(study, conversations=whole("conversations"))
        if whole("max_steps"):
            distil = replace(distil, steps=whole("max_steps"))
        settings = replace(
            settings, prefix_tokens=whole("prefix_tokens"), study=study, distil=distil
        )
        return cls(
            str(request["cartridge_id"]),
            settings,
            whole("part_tokens") or PART_TOKENS,
            str(request.get("base") or ""),
            float(str(request.get("time_budget_seconds") or 0.0)),
        )

    def settings_of(self, parts: int) -> BuildSettings:
        """The recipe of one of so many parts."""
        if not self.seconds:
            return self.settings
        return replace(self.settings, seconds=self.seconds / parts)


class Trainer:
    """Trains cartridges; a killed job goes on in the same work folder."""

    def __init__(
        self, model: LanguageModel, embedder: Embedder, layout: Layout, shelf: CartridgeShelf
    ) -> None:
        self._model, self._embedder = model, embedder
        self._layout, self._shelf = layout, shelf

    def train(
        self,
        work: Path,
        corpus: Corpus,
        resident: ResidentCorpus,
        request: TrainRequest,
        committing: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Generator[BuildReport, None, None]:
        """Reports as the build goes; at the end the cartridge lies in its place and is READY.

        `work` keeps what a killed job goes on from, and gives the place its name; what is recorded
        inside `committing` counts as a whole or not at all.

        Raises:
            ServiceError: CARTRIDGE_CORPUS_TOO_SMALL where there is nothing in the text to learn, or
                what is wrong with the cartridge to start from.
        """
        most = min(request.part_tokens, self._model.geometry.window - RESERVE)
        parts = cut_parts(resident, most)
        settings = request.settings_of(len(parts))
        built: list[Built] = []
        try:
            bases = self._bases(corpus.id, request.base, resident, parts)
            for number, (part, base) in enumerate(zip(parts, bases, strict=True)):
                sentences = resident.sentences(part.sentences)
                folder = work / f"part-{number:03d}"
                with opened_folder(folder, work, make=True):  # no link
                    pass
                builder = CartridgeBuilder(self._model, sentences, folder, settings, base)
                told = _Told(number, len(parts))
                built.append((yield from relay(builder.build(), told)))
        except CartridgeError as error:
            raise fail(error.reason, str(error), field="parent") from error
        metrics = _combined(built) | self._guard(resident, built)
        place = self._layout.cartridge(corpus.id, request.cartridge_id) / work.name
        manifest = store_cartridge(
            place, self._model,
            [
                _stored(one, part, resident, settings)
                for one, part in zip(built, parts, strict=True)
            ],
            resident.catalog.corpus_digest, builder.recipe(), metrics,
            in_int8=all(one.in_int8 for one in built),
            root=self._layout.data, within=work,
        )  # fmt: skip
        try:
            keep_place(place, self._layout.elsewhere)
            with committing():
                self._mark_ready(corpus.id, request.cartridge_id, manifest, place)
                fail_point("cartridge.recorded")
        except BaseException:
            remove_tree(place, self._layout.data, self._layout.elsewhere)
            raise
        fail_point("cartridge.committed")
        clear_older(place, self._layout.data, self._layout.elsewhere)
        fail_point("cartridge.cleared")

    def _bases(
        self, corpus_id: str, base: str, resident: ResidentCorpus, parts: Sequence[CorpusPart]
    ) -> list[Base | None]:
        """For every part what an earlier cartridge knows of it; nothing where it knows no window, or
        where the part is shorter than its prefix.
        """
        if not base:
            return [None for _ in parts]
        record = self._shelf.get(corpus_id, base)
        root = self._layout.data
        place = self._layout.cartridge(corpus_id, base)
        folder = find_place(place, record.tensor_digest, root, self._layout.elsewhere)
        manifest = read_manifest(folder, root)
        return [self._base(folder, manifest, resident, part) for part in parts]

    def _base(
        self, folder: Path, manifest: Manifest, resident: ResidentCorpus, part: CorpusPart
    ) -> Base | None:
        shared = [len(set(part.windows) & set(old.windows)) for old in manifest.parts]
        number = max(range(len(shared)), key=lambda i: shared[i])
        if not shared[number]:
            return None
        known = frozenset(manifest.parts[number].windows)
        prefix = load_cartridge(folder, self._model, number, self._layout.data).prefix
        sentences = resident.sentences(part.sentences)
        if len(Prompter(self._model).context_ids(sentences)) < prefix.length:
            return None  # a text that shrank below its prefix: there is nothing to be moved to
        return base_of(
            prefix,
            load_studied(folder, manifest, number, self._layout.data),
            sentences,
            set(changed_sentences(resident, part, known)),
        )

    def _guard(self, resident: ResidentCorpus, built: Sequence[Built]) -> dict[str, float]:
        """Calibrated on the corpus' own held-out questions and on questions about nothing in it."""

        def nearest(questions: Sequence[str]) -> list[float]:
            vectors = self._embedder.embed(questions)
            return [float(resident.index.search(vector, 1)[1][0]) for vector in vectors]

        own = [x.conversation.question for one in built for x in one.held_out]
        return calibrate_guard(nearest(own), nearest(load_questions())).metrics()

    def _mark_ready(
        self, corpus_id: str, cartridge_id: str, manifest: Manifest, place: Path
    ) -> None:
        self._shelf.mark_ready(
            corpus_id,
            cartridge_id,
            prefix_tokens=manifest.prefix_tokens,
            query_offset=manifest.query_offset,
            size_bytes=sum(path.lstat().st_size for path in place.iterdir()),
            corpus_digest=manifest.corpus_digest,
            tensor_digest=manifest.tensor_digest,
            metrics=manifest.metrics,
        )


@dataclass(frozen=True, slots=True)
class _Told:
    """A part's report as one of the whole job."""

    number: int
    parts: int

    def __call__(self, report: BuildReport) -> BuildReport:
        if self.parts == 1:
            return report
        share = (self.number + report.share) / self.parts
        message = f"part {self.number + 1} of {self.parts}: {report.message}"
        return replace(report, share=share, message=message)


_SUMS = frozenset(
    {
        "conversations",
        "context_tokens",
        "teacher_tokens",
        "student_tokens",
        "build_seconds",
        "held_out",
        "asked",
        "sound",
        "kept",
        "reading_seconds",
    }
)


def _combined(built: Sequence[Built]) -> dict[str, float]:
    """Metrics of a whole cartridge: counts and costs add up, shares are weighed by a part's text."""
    if len(built) == 1:
        return dict(built[0].metrics)
    weights = [one.metrics["context_tokens"] for one in built]
    combined: dict[str, float] = {"parts": float(len(built))}
    for name in built[0].metrics:
        values = [one.metrics[name] for one in built]
        weighed = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
        combined[name] = sum(values) if name in _SUMS else weighed
    return combined | break_even(combined)


def _stored(
    built: Built, part: CorpusPart, resident: ResidentCorpus, settings: BuildSettings
) -> BuiltPart:
    studied = built.studied(resident.sentences(part.sentences))
    return BuiltPart(
        built.prefix, part.windows, settings.distil.frozen, built.metrics, built.curves, studied
    )
