"""`longmemory tenant`: whose things are in a data folder, and their removal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import (
    DEFAULT_DATA,
    DataOption,
    JsonOption,
    StateOption,
    StoreOption,
    errors_told,
    note,
    print_json,
    print_table,
    size,
)
from service.tokens import TokenFile

if TYPE_CHECKING:
    from service.tenants import Tenants

app = typer.Typer(no_args_is_help=True, help="Whose corpora a server has.")


@app.command("ls")
def ls(
    data: DataOption = DEFAULT_DATA, state: StateOption = "", as_json: JsonOption = False
) -> None:
    """List the tenants that ever called, and what each has."""
    folder = data.expanduser()
    with errors_told(as_json), _tenants(folder, state) as tenants:
        tokens = Counter(token.tenant for token in TokenFile(folder).list())
        found = [tenants.belongings(tenant.name) for tenant in tenants.all()]
    found.sort(key=lambda one: one.tenant)
    if as_json:
        print_json([asdict(one) | {"tokens": tokens[one.tenant]} for one in found])
        return
    rows = [
        (one.tenant, tokens[one.tenant], one.corpora, size(one.document_bytes), one.cartridges)
        for one in found
    ]
    print_table(("tenant", "tokens", "corpora", "documents", "cartridges"), rows)


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `tenant ls` shows it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: DataOption = DEFAULT_DATA,
    state: StateOption = "",
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Revoke a tenant's tokens, then remove its records and files for good."""
    folder = data.expanduser()
    with errors_told(as_json), _tenants(folder, state, store) as tenants:
        had = tenants.removable(name)
        if not (yes or as_json):
            told = f"{had.corpora} corpora and {had.cartridges} cartridges of {name}"
            typer.confirm(f"remove {told} for good?", abort=True, err=True)
        revoked = TokenFile(folder).revoke_all(name)
        tenants.remove(name)
    if as_json:
        print_json(asdict(had) | {"tokens": len(revoked)})
        return
    note(
        f"removed {name}: {len(revoked)} tokens, {had.corpora} corpora, {had.cartridges} cartridges"
    )


@contextmanager
def _tenants(folder: Path, state: str, url: str = "") -> Iterator[Tenants]:
    """The tenants of a data folder that nobody serves, or of a state that several may use."""
    from service.config import Layout
    from service.state.artifact_store import open_artifacts
    from service.state.data_folder import lock_data_folder
    from service.state.open_store import is_shared, open_store
    from service.tenants import Tenants

    lock = None if is_shared(state) else lock_data_folder(folder)
    try:
        store = open_store(state, Layout(folder).database)
        try:
            yield Tenants(store, folder, open_artifacts(url, folder))
        finally:
            store.close()
    finally:
        if lock:
            lock.release()
