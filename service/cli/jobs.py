"""`longmemory jobs`: list, watch and cancel long-running work."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.output import (
    DEFAULT_SERVER,
    JsonOption,
    ServerOption,
    connected,
    follow,
    note,
    print_json,
    print_table,
    short_name,
)
from service.client.progress import job_line, job_state

app = typer.Typer(no_args_is_help=True, help="Indexing and training under way.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The job, with or without operations/.")]


@app.command("ls")
def ls(server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False) -> None:
    """List the jobs, newest first."""
    with connected(server, as_json) as client:
        jobs = client.list_jobs()
    if as_json:
        print_json([job.as_json() for job in jobs])
        return
    rows = [
        (
            short_name(job.name),
            job.kind,
            short_name(job.corpus),
            job_state(job),
            f"{job.progress:.0%}",
            job.error.message if job.error else job_line(job),
        )
        for job in jobs
    ]
    print_table(("id", "kind", "corpus", "state", "progress", "message"), rows)
    if not rows:
        note("no jobs yet; indexing and training start some")


@app.command("watch")
def watch(job_id: Id, server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False) -> None:
    """Show a job until it ends. With --json, one JSON line for each change."""
    with connected(server, as_json) as client:
        last = follow(client, job_id, as_json, lines=as_json)
    if not as_json:
        typer.echo(f"{short_name(last.name)}: {last.kind} {job_state(last)}")


@app.command("cancel")
def cancel(job_id: Id, server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False) -> None:
    """Ask a job to stop; it ends at its next step."""
    with connected(server, as_json) as client:
        client.cancel_job(job_id)
        job = client.get_job(job_id)
    if as_json:
        print_json(job.as_json())
    else:
        typer.echo(f"{short_name(job.name)}: {job_state(job)}")
