"""`longmemory token`: who may call a server. Works on the data folder, so where the server runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from service.cli.output import (
    DEFAULT_DATA,
    DataOption,
    JsonOption,
    errors_told,
    note,
    print_json,
    print_table,
)
from service.tokens import DEFAULT_TENANT, Token, TokenFile, parse_role

app = typer.Typer(no_args_is_help=True, help="Bearer tokens of the server's callers.")


@app.command("add")
def add(
    role: Annotated[str, typer.Option("--role", help="read, write or admin.")],
    tenant: Annotated[
        str,
        typer.Option(
            "--tenant",
            help="Whose corpora, cartridges and jobs it reaches; made at its first call.",
        ),
    ] = DEFAULT_TENANT,
    name: Annotated[str, typer.Option("--name", help="A word on who has it.")] = "",
    expires: Annotated[
        float, typer.Option("--expires", metavar="DAYS", help="Days until it ends; 0: never.")
    ] = 0.0,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it, this once."""
    with errors_told(as_json):
        made, secret = TokenFile(data.expanduser()).add(tenant, parse_role(role), name, expires)
    if as_json:
        print_json(_told(made) | {"token": secret})
        return
    typer.echo(secret)
    note("kept nowhere; hand it over now. From the first token on, the server asks for one")


@app.command("list")
def list_tokens(data: DataOption = DEFAULT_DATA, as_json: JsonOption = False) -> None:
    """List the tokens, without their secrets."""
    with errors_told(as_json):
        tokens = TokenFile(data.expanduser()).list()
    if as_json:
        print_json([_told(token) for token in tokens])
        return
    columns = ("id", "tenant", "role", "name", "created", "expires")
    print_table(columns, [[_told(token)[column] or "-" for column in columns] for token in tokens])


@app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `token list` shows it.")],
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Forget a token; a running server refuses it from its next call on."""
    with errors_told(as_json):
        gone = TokenFile(data.expanduser()).revoke(token_id)
    if as_json:
        print_json(_told(gone))
        return
    note(f"revoked {gone.id}")


def _told(token: Token) -> dict[str, str]:
    return {
        "id": token.id,
        "tenant": token.tenant,
        "role": token.role.name.lower(),
        "name": token.name,
        "created": _moment(token.created),
        "expires": _moment(token.expires),
    }


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat("T", "seconds")
