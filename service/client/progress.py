"""How a job looks while it runs: one line of figures, and a bar for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.client.types import JobSnapshot

if TYPE_CHECKING:
    from rich.progress import Progress


def job_state(job: JobSnapshot) -> str:
    """Where a job is, in one word."""
    if not job.done:
        return job.phase
    if job.error:
        return "cancelled" if job.error.code == "CANCELLED" else "failed"
    return "succeeded"


def job_line(job: JobSnapshot) -> str:
    """What a job is doing: its message, or while training the figures of its latest step."""
    known = job.metrics
    if "step" not in known:
        return job.message
    steps = f"/{known['steps']:.0f}" if "steps" in known else ""
    parts = [f"step {known['step']:.0f}{steps}"]
    for name, form in (
        ("loss", "loss {:.3f}"),
        ("recovered", "recovered {:.0%}"),
        ("tokens_per_second", "{:,.0f} tokens/s"),
    ):
        if name in known:
            parts.append(form.format(known[name]))
    if "seconds_left" in known:
        minutes, seconds = divmod(int(known["seconds_left"]), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return " · ".join(parts)


def progress_bar(hidden: bool) -> Progress:
    """A bar on stderr with a line of text behind it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    plain: dict[str, Any] = {"markup": False}
    return Progress(
        TextColumn("{task.description}", **plain),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[line]}", **plain),
        console=Console(stderr=True),
        disable=hidden,
    )
