"""`longmemory doctor`: whether this machine can run the service, and what to mend."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.output import (
    DEFAULT_DATA,
    DEFAULT_SERVER,
    DataOption,
    DeviceOption,
    JsonOption,
    MetricsOption,
    ServerOption,
    StateOption,
    StoreOption,
    print_json,
)


def doctor(
    data: DataOption = DEFAULT_DATA,
    server: ServerOption = DEFAULT_SERVER,
    state: StateOption = "",
    store: StoreOption = "",
    device: DeviceOption = "auto",
    metrics: MetricsOption = "",
    http: Annotated[
        str, typer.Option("--http", metavar="HOST:PORT", help="Where the HTTP door is to be.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Check this machine; the exit code is 1 when something keeps the service from running."""
    from service.cli.doctor import FAIL, OK, WARN, examine_machine
    from service.cli.doctor_surroundings import surroundings

    around = surroundings(state, device, {"metrics": metrics, "http": http}, store)
    checks = examine_machine(data.expanduser(), server, around)
    failed = any(check.status == FAIL for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": [check.as_json() for check in checks]})
        raise typer.Exit(int(failed))
    colors = {OK: typer.colors.GREEN, WARN: typer.colors.YELLOW, FAIL: typer.colors.RED}
    for check in checks:
        status = typer.style(f"{check.status:<4}", fg=colors[check.status])
        typer.echo(f"{status}  {check.name}: {check.detail}")
        if check.mend:
            typer.echo(f"      {check.mend}")
    raise typer.Exit(int(failed))
