"""Measured cells of a run, and the append-only file that keeps them through a kill and a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from evaluation.scenes import Label, Probe

Key = tuple[str, str, str]  # scene, probe, route


@dataclass(frozen=True, slots=True)
class Row:
    """One question by one route. Times are seconds; `search` lies within `prepare`, that within
    `first_token`, and that within `total`.
    """

    suite: str
    scene: str
    probe: str
    route: str
    labels: Mapping[str, Label]
    question: str
    expected: tuple[tuple[str, ...], ...]  # the parts of a full answer, each with accepted forms
    answer: str = ""
    score: float = 0.0  # share of the answer's parts that were said
    recall: float | None = None  # share of the gold places within the evidence; None: none shown
    rank: int | None = None  # of the first gold place, from 1; None: not found or not ranked
    prompt_tokens: int = 0
    prefix_tokens: int = 0
    output_tokens: int = 0
    search_seconds: float | None = None  # of stored keys; None where none are searched
    prepare_seconds: float = 0.0
    first_token_seconds: float = 0.0
    total_seconds: float = 0.0
    reason: str = ""  # the router's
    error: str = ""  # why the cell failed, as REASON: message

    @property
    def key(self) -> Key:
        """What the cell is known by, in this run and when it is resumed."""
        return self.scene, self.probe, self.route

    @property
    def is_right(self) -> bool:
        return self.score == 1.0 and not self.error

    def as_json(self) -> dict[str, Any]:
        """The row as JSON values."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        own["labels"] = dict(self.labels)
        own["expected"] = [list(forms) for forms in self.expected]
        return own

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Row:
        """The row that `as_json` gave. Raises ValueError when it is none."""
        try:
            expected = tuple(tuple(forms) for forms in value["expected"])
            return cls(**{**value, "expected": expected})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a row: {error!r}") from error


class RowFile:
    """`results.jsonl`: one row a line, only ever appended to. Its folder must exist; one run at a
    time writes it.

    A line counts once its newline is written, so a run that is killed loses one row at most.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Row) -> None:
        """Write a row so that it outlives the process. Raises OSError."""
        line = json.dumps(row.as_json(), ensure_ascii=False) + "\n"
        with self.path.open("a+b") as file:
            end = file.seek(0, 2)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line.encode())
            file.flush()

    def read(self) -> list[Row]:
        """The newest row of each cell, cells in the order of their first try; none without a file.

        Raises ValueError, with the line's number, for a whole line that is no row.
        """
        if not self.path.exists():
            return []
        # Bytes are split at newlines alone: an answer may hold characters that str.splitlines cuts.
        *lines, _torn = self.path.read_bytes().split(b"\n")
        newest: dict[Key, Row] = {}
        for number, line in enumerate(lines, start=1):
            try:
                row = Row.from_json(json.loads(line))
            except ValueError as error:
                raise ValueError(f"{self.path}, line {number}: {error}") from error
            newest[row.key] = row
        return list(newest.values())

    def finished(self) -> dict[Key, Row]:
        """The cells that a resumed run may skip: those whose newest row has no error."""
        return {row.key: row for row in self.read() if not row.error}


def is_answered(row: Row | None, probe: Probe) -> bool:
    """Whether a finished row is of this very probe: another seed or source asks another under its id."""
    return (
        row is not None
        and (row.question, row.expected) == (probe.question, probe.answers)
        and probe.labels.items() <= row.labels.items()
    )
