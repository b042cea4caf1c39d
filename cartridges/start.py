"""Where distillation starts: a closed form of a length that is given or found, or an earlier prefix."""

import json
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from cartridges.length import candidate_lengths, choose_length
from cartridges.lessons import Lesson
from cartridges.match import MatchSettings, match_prefix
from cartridges.progress import StageReport, relay
from cartridges.quality import Yardstick, mean_kl
from cartridges.references import References, collect_references
from engine.model import LanguageModel
from engine.plain_file import read_plain
from engine.plain_folder import staged
from engine.prefix import KVPrefix, load_prefix, save_prefix
from engine.rotation import move_prefix

T = TypeVar("T")
Curves = dict[str, tuple[float, ...]]


class Starter:
    """Finds the start of one context in `work`. `length` 0 tries several; `old` is a prefix that stood
    for an earlier text.
    """

    def __init__(
        self,
        model: LanguageModel,
        context: KVPrefix,
        work: Path,
        settings: MatchSettings,
        scale: Yardstick,
        length: int = 0,
        old: KVPrefix | None = None,
    ) -> None:
        self._model, self._context, self._settings = model, context, settings
        self._scale, self._length, self._old = scale, length, old
        self._path, self._tried = work / "start.safetensors", work / "lengths.json"

    def start(
        self, train: Sequence[Lesson]
    ) -> Generator[StageReport, None, tuple[KVPrefix, Curves]]:
        """The prefix, and what each length that was tried recovers."""
        model, context = self._model, self._context
        with suppress(FileNotFoundError):
            stored = load_prefix(self._path).to(model.device, model.dtype)
            known = json.loads(read_plain(self._tried))
            return stored, {name: tuple(values) for name, values in known.items()}
        if self._old:  # trained as it is; matching it anew would undo what distillation has done
            start = move_prefix(model, self._old, context.query_offset)
            self._keep(start, {})
            return start, {}
        settings, turns = self._settings, [lesson.turn for lesson in train]
        reading = collect_references(model, context, turns, settings.queries, settings.seed)
        references = yield from _told("collecting queries", 0.0, 0.3, reading)
        length, tried = self._length, Curves()
        if not length:
            length, tried = yield from self._search(references)
        work = match_prefix(context, references, length, settings)
        start = yield from _told("matching attention", 0.6, 1.0, work)
        self._keep(start, tried)
        return start, tried

    def _search(
        self, references: Sequence[References]
    ) -> Generator[StageReport, None, tuple[int, Curves]]:
        """The length worth having, by what the unrefined form of several recovers."""
        closed = self._settings.closed_form()
        lengths, recovered = candidate_lengths(self._context.length), dict[int, float]()
        for place, length in enumerate(lengths):
            low, high = (0.3 + 0.3 * (place + i) / len(lengths) for i in (0, 1))
            work = match_prefix(self._context, references, length, closed)
            prefix = yield from _told(f"trying {length} tokens", low, high, work)
            kl = mean_kl(self._model, self._scale.lessons, prefix)
            recovered[length] = self._scale.recovered(kl)
        curves = {
            "length": tuple(float(length) for length in lengths),
            "length_recovered": tuple(recovered.values()),
        }
        return choose_length(recovered), curves

    def _keep(self, start: KVPrefix, tried: Curves) -> None:
        with staged(self._tried) as staging:
            staging.write_text(json.dumps(tried))
        with staged(self._path) as staging:
            save_prefix(start, staging)


def _told(
    message: str, low: float, high: float, work: Generator[float, None, T]
) -> Generator[StageReport, None, T]:
    def told(share: float) -> StageReport:
        return StageReport("match", low + (high - low) * share, message)

    result = yield from relay(work, told)
    return result
