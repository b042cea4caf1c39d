"""How log lines look: one event a line, for people or as JSON, on standard error."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import Any, TextIO

import structlog

FORMATS = ("console", "json")
LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Raises ValueError for what does not make sense."""

    format: str = "console"
    level: str = "info"
    questions: bool = False  # whether a call's line tells what was asked

    def __post_init__(self) -> None:
        for name, value, known in (
            ("log-format", self.format, FORMATS),
            ("log-level", self.level, LEVELS),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; use one of {', '.join(known)}")


def configure_logs(settings: LogSettings, file: TextIO | None = None) -> None:
    """Sets how this process logs, to `file` or to standard error, which a program that reads the
    standard output of a server does not have to empty.
    """
    out = sys.stderr if file is None else file
    # Never structlog's own choice for terminals: it prints the local variables of every frame of a
    # traceback, and with them the texts of questions and documents.
    last: tuple[Any, ...] = (
        (structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str))
        if settings.format == "json"
        else (
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            getattr(logging, settings.level.upper())
        ),
        # Looked up at each line: standard error may be another by then.
        logger_factory=lambda *name: _Printer(file or sys.stderr, *name),
        cache_logger_on_first_use=False,
    )


class _Printer(structlog.PrintLogger):
    """Prints lines and knows in whose name."""

    def __init__(self, file: TextIO, name: str = "longmemory") -> None:
        super().__init__(file)
        self.name = name
