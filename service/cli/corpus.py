"""`longmemory corpus`: add files to a corpus, list, show and remove corpora."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import (
    DEFAULT_SERVER,
    JsonOption,
    ServerOption,
    connected,
    count,
    errors_told,
    follow,
    note,
    print_json,
    print_table,
    short_name,
    size,
)
from service.client.progress import job_state, progress_bar
from service.client.types import Corpus, DenseSearch, JobSnapshot, UploadReport

if TYPE_CHECKING:
    from service.client.connection import Client
    from service.client.source_files import SourceFiles

app = typer.Typer(no_args_is_help=True, help="Texts that questions are asked about.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The corpus.")]


@app.command("add")
def add(
    name: Name,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Text files, or folders of them.")
    ],
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it is indexed.")
    ] = True,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Upload files to a corpus, which is created when it is new, and index it."""
    from service.client.source_files import read_sources

    with errors_told(as_json):
        sources = read_sources(paths)
        if not sources.documents:
            why = "; ".join(f"{path} {reason}" for path, reason in sources.skipped[:3])
            raise ValueError(f"there is no text in these paths ({why or 'no files'}); give others")
    _tell_skipped(sources)
    with connected(server, as_json) as client:
        client.create_corpus(name, exist_ok=True)
        report = _upload(client, name, sources, as_json)
        job = client.index(name)
        last = follow(client, job, as_json) if wait else client.get_job(job)
        corpus = client.get_corpus(name)
    _tell_added(corpus, report, last, sources, as_json)


@app.command("ls")
def ls(server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False) -> None:
    """List the corpora, newest first."""
    with connected(server, as_json) as client:
        corpora = client.list_corpora()
    if as_json:
        print_json([corpus.as_json() for corpus in corpora])
        return
    rows = [
        (
            corpus.id,
            corpus.state,
            count(corpus.documents),
            count(corpus.tokens),
            "yes" if corpus.is_indexed else "no",
        )
        for corpus in corpora
    ]
    print_table(("name", "state", "documents", "tokens", "indexed"), rows)
    if not rows:
        note("no corpora yet; add one with `longmemory corpus add NAME PATH...`")


@app.command("show")
def show(name: Name, server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False) -> None:
    """Show one corpus and its documents."""
    with connected(server, as_json) as client:
        corpus, documents = client.get_corpus(name), client.list_documents(name)
    if as_json:
        print_json(corpus.as_json() | {"document_list": [one.as_json() for one in documents]})
        return
    print_table(
        ("corpus", corpus.id),
        [
            ("state", corpus.state + (f": {corpus.error.message}" if corpus.error else "")),
            ("documents", count(corpus.documents)),
            ("characters", count(corpus.characters)),
            ("size", size(corpus.num_bytes)),
            ("sentences", count(corpus.sentences)),
            ("tokens", count(corpus.tokens)),
            ("indexed", "yes" if corpus.is_indexed else "no"),
            ("vectors", _search_told(corpus.dense)),
        ],
    )
    typer.echo()
    rows = [(one.id, count(one.characters), size(one.num_bytes)) for one in documents]
    print_table(("document", "characters", "size"), rows)


@app.command("rm")
def rm(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Remove a corpus with its documents, its index and its cartridges."""
    with connected(server, as_json) as client:
        corpus = client.get_corpus(name)
        if not yes:
            cartridges = len(client.list_cartridges(name))
            what = f"{count(corpus.documents)} documents and {cartridges} cartridges"
            typer.confirm(f"Remove {corpus.id} with its {what}?", abort=True, err=True)
        client.delete_corpus(name, force=True)
    if as_json:
        print_json({"removed": corpus.name})
    else:
        note(f"removed {corpus.id}")


def _search_told(dense: DenseSearch | None) -> str:
    if dense is None:
        return "not known"
    if not dense.lists:
        return "searched exactly"
    lists = f"{count(dense.probes)} of {count(dense.lists)} lists looked into"
    return f"{lists}, recall@10 {dense.recall:.3f}"


def _upload(client: Client, name: str, sources: SourceFiles, as_json: bool) -> UploadReport:
    with progress_bar(hidden=as_json) as bar:
        task = bar.add_task("upload", total=sources.num_bytes, line=size(sources.num_bytes))
        return client.upload(
            name, sources.documents, lambda num_bytes: bar.update(task, completed=num_bytes)
        )


def _tell_skipped(sources: SourceFiles) -> None:
    for path, why in sources.skipped:
        note(f"skipped {path}: {why}")


def _tell_added(
    corpus: Corpus,
    report: UploadReport,
    job: JobSnapshot,
    sources: SourceFiles,
    as_json: bool,
) -> None:
    if as_json:
        skipped = [{"path": path, "why": why} for path, why in sources.skipped]
        upload = report.as_json()
        told = {"corpus": corpus.as_json(), "upload": upload, "job": job.as_json()}
        print_json(told | {"skipped_files": skipped})
        return
    typer.echo(
        f"{corpus.id}: {count(report.documents)} documents uploaded, "
        f"{count(report.skipped)} were there already; {count(corpus.tokens)} tokens indexed"
    )
    if not job.done:
        note(f"indexing is {job_state(job)}; see `longmemory jobs watch {short_name(job.name)}`")
