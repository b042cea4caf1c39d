"""The command `longmemory`: which commands there are. Each imports what it needs when it runs."""

from __future__ import annotations

import typer

from service.cli import cartridge as cli_cartridge
from service.cli import corpus as cli_corpus
from service.cli import jobs as cli_jobs
from service.cli.ask import ask
from service.cli.calibrate import calibrate
from service.cli.credentials import take_credentials
from service.cli.doctor_command import doctor
from service.cli.evaluate import app as evaluate_app
from service.cli.feedback import feedback
from service.cli.read import read
from service.cli.serve import serve
from service.cli.setup import setup
from service.cli.tenant import app as tenant_app
from service.cli.token import app as token_app
from service.cli.top import top
from service.cli.worker import worker

app = typer.Typer(
    name="longmemory",
    help="A long-context memory service: register texts, train cartridges, ask.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.callback()(take_credentials)
app.command("serve")(serve)
app.command("worker")(worker)
app.command("setup")(setup)
app.add_typer(cli_corpus.app, name="corpus")
app.add_typer(cli_cartridge.app, name="cartridge")
app.command("ask")(ask)
app.command("feedback")(feedback)
app.command("read")(read)
app.add_typer(cli_jobs.app, name="jobs")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(token_app, name="token")
app.add_typer(tenant_app, name="tenant")
app.command("calibrate")(calibrate)
app.command("doctor")(doctor)
app.command("top")(top)


def main() -> None:
    """The entry point of the command."""
    app()


if __name__ == "__main__":
    main()
