"""`longmemory cartridge`: train, list, show and remove cartridges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from service.cli import cartridge_folder
from service.cli.output import (
    DEFAULT_SERVER,
    JsonOption,
    ServerOption,
    connected,
    count,
    follow,
    note,
    print_json,
    print_table,
    short_name,
    size,
)
from service.client.types import Cartridge

app = typer.Typer(no_args_is_help=True, help="Prefixes trained on a corpus.")

app.command("inspect")(cartridge_folder.inspect)
app.command("export")(cartridge_folder.export)
app.command("import")(cartridge_folder.import_)

Id = Annotated[str, typer.Argument(metavar="ID", help="The cartridge, as CORPUS/CARTRIDGE.")]


@app.command("train")
def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The corpus to train on.")],
    tokens: Annotated[
        int, typer.Option("--tokens", min=0, help="Length of the prefix; 0: the server's default.")
    ] = 0,
    steps: Annotated[
        int, typer.Option("--steps", min=0, help="Most training steps; 0: the server's default.")
    ] = 0,
    conversations: Annotated[
        int,
        typer.Option("--conversations", min=0, help="Conversations to train on; 0: the default."),
    ] = 0,
    cartridge_id: Annotated[
        str, typer.Option("--id", help="Id of the new cartridge; the server chooses without it.")
    ] = "",
    watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Show the training until it ends.")
    ] = True,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Train a cartridge on a corpus. With --watch --json, one JSON line for each change."""
    with connected(server, as_json) as client:
        job = client.train(name, tokens, steps, conversations, cartridge_id)
        if watch:
            last = follow(client, job, as_json, lines=as_json)
        else:
            last = client.get_job(job)
            if as_json:
                print_json(last.as_json())
    if as_json:
        return
    if isinstance(last.result, Cartridge):
        _print_cartridges([last.result], {})
    else:
        note(f"training; see `longmemory jobs watch {short_name(job)}`")


@app.command("ls")
def ls(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only of this corpus.")] = "-",
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """List the cartridges of one corpus or of all, newest first."""
    with connected(server, as_json) as client:
        cartridges = client.list_cartridges(name)
        tokens = {} if as_json else {one.id: one.tokens for one in client.list_corpora()}
    if as_json:
        print_json([cartridge.as_json() for cartridge in cartridges])
        return
    _print_cartridges(cartridges, tokens)
    if not cartridges:
        note("no cartridges yet; train one with `longmemory cartridge train NAME`")


@app.command("show")
def show(
    cartridge_id: Id, server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False
) -> None:
    """Show one cartridge with its measurements."""
    with connected(server, as_json) as client:
        cartridge = client.get_cartridge(cartridge_id)
    if as_json:
        print_json(cartridge.as_json())
        return
    rows: list[tuple[str, str]] = [
        ("state", cartridge.state + (f": {cartridge.error.message}" if cartridge.error else "")),
        ("tokens", count(cartridge.prefix_tokens)),
        ("size", size(cartridge.size_bytes)),
        ("model", cartridge.model_fingerprint),
    ]
    rows += [(key, f"{value:g}") for key, value in sorted(cartridge.metrics.items())]
    print_table(("cartridge", _short(cartridge)), rows)


@app.command("rm")
def rm(
    cartridge_id: Id, server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False
) -> None:
    """Remove a cartridge."""
    with connected(server, as_json) as client:
        client.delete_cartridge(cartridge_id)
    if as_json:
        print_json({"removed": cartridge_id})
    else:
        note(f"removed {cartridge_id}")


def _print_cartridges(cartridges: list[Cartridge], corpus_tokens: Mapping[str, int]) -> None:
    rows = []
    for one in cartridges:
        tokens = one.metrics.get("corpus_tokens") or corpus_tokens.get(one.corpus_id, 0)
        smaller = f"{tokens / one.prefix_tokens:.1f}x" if tokens and one.prefix_tokens else "-"
        recovered = f"{one.metrics['recovered']:.0%}" if "recovered" in one.metrics else "-"
        rows.append(
            (
                _short(one),
                one.state,
                count(one.prefix_tokens),
                smaller,
                recovered,
                size(one.size_bytes),
            )
        )
    print_table(("id", "state", "tokens", "smaller by", "recovered", "size"), rows)


def _short(cartridge: Cartridge) -> str:
    return f"{cartridge.corpus_id}/{cartridge.id}"
