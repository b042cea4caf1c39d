"""What a cartridge learns from: self-study, quotations, and what an earlier cartridge learned from.

Every stage leaves what it made in the work folder, so a study that was killed goes on where it was.
"""

import os
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from cartridges.conversations import (
    Conversation,
    append_conversations,
    distinct,
    read_conversations,
)
from cartridges.interview import interview
from cartridges.lessons import Lesson, load_lessons, read_lessons, save_lessons
from cartridges.manifest import CartridgeError
from cartridges.progress import StageReport, relay
from cartridges.self_study import StudySettings, Topic, converse, plan_study, quotations
from engine.model import LanguageModel
from engine.plain_file import append_plain
from engine.prefix import KVPrefix
from engine.prompts import Prompter


class Curriculum:
    """The lessons of one context. `about` are the numbers of the sentences to be studied, and `known`
    conversations that were studied before.
    """

    def __init__(
        self,
        model: LanguageModel,
        sentences: Sequence[str],
        work: Path,
        settings: StudySettings,
        about: Sequence[int],
        known: Sequence[Conversation] = (),
    ) -> None:
        self._model, self._sentences, self._work = model, sentences, work
        self._settings, self._about, self._known = settings, about, known

    def lessons(self, context: KVPrefix) -> Generator[StageReport, None, list[Lesson]]:
        """Conversations that the corpus explains, and quotations, in a seeded order.

        Raises:
            CartridgeError: CARTRIDGE_CORPUS_TOO_SMALL where no conversation can be made of the text.
        """
        stored = load_lessons(self._work, self._model)
        if stored is not None:
            return stored
        settings = self._settings
        studied = yield from self._study()
        count = settings.quotations_for(len(self._about))
        quoted = quotations(self._sentences, count, settings.seed, self._about)
        found = distinct([*studied, *self._known, *quoted])
        if not found:
            raise CartridgeError(
                "CARTRIDGE_CORPUS_TOO_SMALL",
                "the corpus holds nothing to learn: no sentence of six words, and nothing that the "
                "model could ask about",
            )
        reading = read_lessons(self._model, found, context)
        lessons = yield from relay(
            reading, lambda share: StageReport("read", share, "the teacher reads")
        )
        kept = [
            x for x in lessons if x.conversation.is_quoted or x.conversation.gain >= settings.gain
        ]
        save_lessons(self._work, kept or lessons)
        return kept or lessons

    def account(self, lessons: Sequence[Lesson]) -> dict[str, float]:
        """What came of the study: topics asked about, sound conversations, and those that the corpus
        helps with, of `lessons`.
        """
        known = set(self._known)
        written = (x.conversation for x in lessons if not x.conversation.is_quoted)
        sound = distinct(read_conversations(self._work / "conversations.jsonl"))
        return {
            "asked": float(sum(map(len, self._plan()))),
            "sound": float(len(sound)),
            "kept": float(sum(replace(each, gain=0.0) not in known for each in written)),
        }

    def _plan(self) -> list[list[Topic]]:
        return plan_study(self._sentences, self._settings, self._about)

    def _study(self) -> Generator[StageReport, None, list[Conversation]]:
        """Self-study, written as it goes; a line in `batches` says that its batch is whole."""
        raw, marks = self._work / "conversations.jsonl", self._work / "batches"
        batches = self._plan()
        with append_plain(marks) as file:
            done = os.fstat(file.fileno()).st_size
        began, first, total = time.monotonic(), done, len(batches)
        ask = converse if Prompter(self._model).is_led else interview
        for batch in ask(self._model, self._sentences, batches[done:], self._settings):
            append_conversations(raw, batch)
            with append_plain(marks) as file:
                file.write(b".")
            done += 1
            pace = (time.monotonic() - began) / (done - first)
            metrics = {"seconds_left": pace * (total - done)}
            yield StageReport("study", done / total, "self-study", metrics)
        return distinct(read_conversations(raw))
