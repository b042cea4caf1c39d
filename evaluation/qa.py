"""Questions with gold passages from a JSONL file: all its passages are one corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from evaluation.scenes import Gold, Label, Probe, Scene
from service.client.types import SourceDocument


@dataclass(frozen=True, slots=True)
class Record:
    """One object of a JSONL file; `where` names its file and line."""

    where: str
    values: Mapping[str, object]

    def text(self, field: str) -> str:
        """A text that is not blank, without white space around it. Raises ValueError."""
        value = self._value(field)
        if not isinstance(value, str):
            raise ValueError(f'{self.where}: "{field}" is {_kind(value)}; write a text')
        if not value.strip():
            raise ValueError(f'{self.where}: "{field}" is empty; write its text or drop the line')
        return value.strip()

    def texts(self, field: str) -> tuple[str, ...]:
        """One text or a list of at least one, none of them blank. Raises ValueError."""
        value = self._value(field)
        if isinstance(value, str):
            return (self.text(field),)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValueError(
                f'{self.where}: "{field}" is {_kind(value)}; write a text or a list of texts'
            )
        if not value or not all(each.strip() for each in value):
            raise ValueError(
                f'{self.where}: "{field}" is empty or holds an empty text; '
                "write at least one text, and none that is blank"
            )
        return tuple(each.strip() for each in value)

    def _value(self, field: str) -> object:
        if field not in self.values:
            raise ValueError(f'{self.where}: "{field}" is missing; add it to the line')
        return self.values[field]


def read_records(path: Path) -> Iterator[Record]:
    """The objects of a JSONL file in order, blank lines left out. Raises OSError, ValueError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8; save it as UTF-8 text") from error
    # Newlines alone end a line: JSON may hold the other characters that str.splitlines cuts at.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where}: is not JSON ({error.msg} at column {error.colno}); "
                "write one JSON object a line"
            ) from error
        if not isinstance(values, dict):
            raise ValueError(f"{where}: is {_kind(values)}; write one JSON object a line")
        yield Record(where, values)


@dataclass(frozen=True)
class QaSuite:
    """Lines of {"question", "answers", "passage", "title"?}; each passage is one document.

    `most` bounds the questions. The corpus is all the file's passages in any case, so that figures
    of a short run compare with those of a long one. Raises OSError and ValueError.
    """

    path: Path
    most: int | None = None

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 1:
            raise ValueError(f"most is {self.most}; ask at least 1 question")
        _ = self._scene  # a file that cannot be used is told before a run starts

    @property
    def name(self) -> str:
        return "qa"

    @property
    def grouped_by(self) -> tuple[str, ...]:
        return ()

    @property
    def description(self) -> Mapping[str, Label]:
        documents = self._scene.documents
        return {
            "source": str(self.path),
            "questions": len(self._scene.probes),
            "passages": len(documents),
            "characters": sum(len(document.data().decode()) for document in documents),
        }

    def scenes(self) -> Iterator[Scene]:
        yield self._scene

    @cached_property
    def _scene(self) -> Scene:
        records = list(read_records(self.path))
        if not records:
            raise ValueError(f"{self.path}: holds no question; write one JSON object a line")
        names: dict[str, str] = {}  # a passage's text to the id of its document
        probes = []
        for number, record in enumerate(records):
            name = names.setdefault(_passage(record), f"p-{len(names):05d}.txt")
            probes.append(
                Probe(
                    id=f"q-{number:05d}",
                    question=record.text("question"),
                    answers=(record.texts("answers"),),
                    gold=(Gold(name),),
                )
            )
        documents = tuple(SourceDocument(name, text.encode()) for text, name in names.items())
        return Scene("qa", documents, tuple(probes[: self.most]))


def _passage(record: Record) -> str:
    """A document's text: the passage, under its title where it has one."""
    passage = record.text("passage")
    return f"{record.text('title')}\n{passage}" if record.values.get("title") else passage


def _kind(value: object) -> str:
    """What a JSON value is, as people call it."""
    kinds = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list of other things than texts",
        dict: "an object",
    }
    return kinds.get(type(value), "null")
