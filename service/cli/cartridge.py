"""`longmemory cartridge`: train, list, show and remove cartridges."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from service.client.connection import Client

app = typer.Typer(no_args_is_help=True, help="Prefixes trained on a corpus.")

app.command("inspect")(cartridge_folder.inspect)
app.command("export")(cartridge_folder.export)
app.command("import")(cartridge_folder.import_)


class Effort(StrEnum):
    """How much work a cartridge is worth."""

    instant = "instant"
    fast = "fast"
    thorough = "thorough"


def _length(text: str) -> int:
    """A number of tokens, 0 for the word auto."""
    if text == "auto":
        return 0
    if not text.isdigit():
        raise typer.BadParameter(f"{text!r} is neither a number of tokens nor auto")
    return int(text)


EffortOption = Annotated[
    Effort,
    typer.Option("--effort", help="instant: minutes. fast: under ten a part. thorough: an hour."),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The cartridge, as CORPUS/CARTRIDGE.")]


@app.command("train")
def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The corpus to train on.")],
    tokens: Annotated[
        int,
        typer.Option(
            "--tokens",
            parser=_length,
            metavar="P",
            help="Length of each part's prefix; auto: the shortest worth having.",
        ),
    ] = "auto",  # type: ignore[assignment]
    effort: EffortOption = Effort.fast,
    part_tokens: Annotated[
        int,
        typer.Option("--part-tokens", min=0, help="Tokens of the corpus that one part stands for."),
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
        job = client.train(
            name, tokens, steps, conversations, cartridge_id, effort.value, part_tokens=part_tokens
        )
        _follow(client, job, watch, as_json)


@app.command("refresh")
def refresh(
    cartridge_id: Id,
    new_id: Annotated[
        str, typer.Option("--id", help="Id of the new cartridge; the server chooses without it.")
    ] = "",
    effort: EffortOption = Effort.fast,
    watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Show the training until it ends.")
    ] = True,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Train a cartridge for a corpus that has changed, starting from an earlier one.

    What changed is studied anew, and what the earlier one learned of the rest is read again. The earlier
    one stays until it is removed.
    """
    with connected(server, as_json) as client:
        corpus = cartridge_id.split("/")[0]
        job = client.train(corpus, cartridge_id=new_id, effort=effort.value, base=cartridge_id)
        _follow(client, job, watch, as_json)


@app.command("warm")
def warm(
    cartridge_id: Id,
    part: Annotated[
        int | None,
        typer.Option("--part", min=0, help="Number of the part to load; all without it."),
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Load a cartridge into the server's memory, ahead of its first question."""
    with connected(server, as_json) as client:
        parts = int(client.get_cartridge(cartridge_id).metrics.get("parts", 1))
        wanted = range(parts) if part is None else [part]
        loaded = [client.warm_cartridge(cartridge_id, number) for number in wanted]
    if as_json:
        print_json([one.as_json() for one in loaded])
    else:
        note(f"loaded {cartridge_id}, {size(sum(one.size_bytes for one in loaded))}")


@app.command("evict")
def evict(
    cartridge_id: Id, server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False
) -> None:
    """Drop a cartridge from the server's memory; its next question loads it again."""
    with connected(server, as_json) as client:
        client.evict_cartridge(cartridge_id)
    if as_json:
        print_json({"evicted": cartridge_id})
    else:
        note(f"dropped {cartridge_id} from memory")


@app.command("resident")
def resident(server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False) -> None:
    """List the cartridges in the server's memory, the least used first."""
    with connected(server, as_json) as client:
        found, limit = client.resident_cartridges()
    if as_json:
        print_json({"cartridges": [one.as_json() for one in found], "limit_bytes": limit})
        return
    rows = [
        (_short(one.name), str(one.part), size(one.size_bytes), count(one.hits)) for one in found
    ]
    print_table(("cartridge", "part", "size", "hits"), rows)
    used = sum(one.size_bytes for one in found)
    note(f"{size(used)} of {size(limit)} in use")


@app.command("ls")
def ls(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only of this corpus.")] = "-",
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """List the cartridges of one corpus or of all, newest first."""
    with connected(server, as_json) as client:
        cartridges = client.list_cartridges(name)
    if as_json:
        print_json([cartridge.as_json() for cartridge in cartridges])
        return
    _print_cartridges(cartridges)
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
        ("state", _state(cartridge)),
        ("tokens", count(cartridge.prefix_tokens)),
        ("size", size(cartridge.size_bytes)),
        ("model", cartridge.model_fingerprint),
    ]
    rows += [(key, f"{value:g}") for key, value in sorted(cartridge.metrics.items())]
    print_table(("cartridge", _short(cartridge.name)), rows)


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


def _follow(client: Client, job: str, watch: bool, as_json: bool) -> None:
    if watch:
        last = follow(client, job, as_json, lines=as_json)
    else:
        last = client.get_job(job)
        if as_json:
            print_json(last.as_json())
    if as_json:
        return
    if isinstance(last.result, Cartridge):
        _print_cartridges([last.result])
    else:
        note(f"training; see `longmemory jobs watch {short_name(job)}`")


def _print_cartridges(cartridges: list[Cartridge]) -> None:
    rows = []
    for one in cartridges:
        smaller = f"{one.metrics['compression']:.1f}x" if "compression" in one.metrics else "-"
        recovered = f"{one.metrics['recovered']:.0%}" if "recovered" in one.metrics else "-"
        rows.append(
            (
                _short(one.name),
                one.state + (f" {one.changed_share:.0%}" if one.changed_share else ""),
                count(one.prefix_tokens),
                smaller,
                recovered,
                size(one.size_bytes),
            )
        )
    print_table(("id", "state", "tokens", "smaller by", "recovered", "size"), rows)


def _state(cartridge: Cartridge) -> str:
    if cartridge.error:
        return f"{cartridge.state}: {cartridge.error.message}"
    if cartridge.changed_share:
        return f"{cartridge.state}: {cartridge.changed_share:.0%} of the text is new to it or gone"
    return cartridge.state


def _short(name: str) -> str:
    """A cartridge's resource name as it is typed."""
    _, corpus, _, own = name.split("/")
    return f"{corpus}/{own}"
