"""`longmemory doctor`: whether this machine can run the service, and what to mend."""

from __future__ import annotations

import typer

from service.cli.output import (
    DEFAULT_DATA,
    DEFAULT_SERVER,
    DataOption,
    JsonOption,
    ServerOption,
    print_json,
)


def doctor(
    data: DataOption = DEFAULT_DATA,
    server: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
) -> None:
    """Check this machine; the exit code is 1 when something keeps the service from running."""
    from service.cli.doctor import FAIL, OK, WARN, examine_machine

    checks = examine_machine(data.expanduser(), server)
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
