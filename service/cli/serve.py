"""`longmemory serve`: the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.drafting import MOST_DRAFTED
from service.cli.output import (
    DEFAULT_DATA,
    DEFAULT_SERVER,
    CondenseOption,
    DataOption,
    DeviceOption,
    DtypeOption,
    InstantTokensOption,
    LogFormatOption,
    LogLevelOption,
    MetricsOption,
    ModelOption,
    RehearseOption,
    StateOption,
    StoreOption,
    errors_told,
    missing_package,
)


def serve(
    data: DataOption = DEFAULT_DATA,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen.")
    ] = DEFAULT_SERVER,
    model: ModelOption = "",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            min=0,
            help="Threads of the model; 0: all cores, half of them beside a job.",
        ),
    ] = 0,
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=256, help="Answers decoded at once.")
    ] = 16,
    verbatim: Annotated[
        bool,
        typer.Option(
            "--verbatim/--free",
            help="Whether models below a billion parameters quote evidence word for word.",
        ),
    ] = True,
    drafted: Annotated[
        int, typer.Option("--drafted", min=0, max=64, help="Tokens guessed ahead at most; 0: none.")
    ] = MOST_DRAFTED,
    instant_tokens: InstantTokensOption = 4096,
    condense: CondenseOption = "extracts",
    rehearse: RehearseOption = 0,
    explore: Annotated[
        float,
        typer.Option(
            "--explore",
            min=0.0,
            max=1.0,
            help="Share of questions that take any open route, so that verdicts tell of all.",
        ),
    ] = 0.0,
    decline_above: Annotated[
        float,
        typer.Option(
            "--decline-above",
            min=0.0,
            max=1.0,
            help="How likely the corpus must not tell what is asked for it to be said; 1: never.",
        ),
    ] = 0.4,
    stale: Annotated[
        float,
        typer.Option(
            "--stale",
            min=0.0,
            max=1.0,
            help="Share of a corpus that may have changed since the cartridge that answers was trained.",
        ),
    ] = 0.0,
    metrics: MetricsOption = "",
    otel: Annotated[
        bool,
        typer.Option("--otel", help="Send spans to the OTLP endpoint that the environment names."),
    ] = False,
    log_format: LogFormatOption = "console",
    log_level: LogLevelOption = "info",
    log_questions: Annotated[
        bool, typer.Option("--log-questions", help="Log the text of every question.")
    ] = False,
    state: StateOption = "",
    store: StoreOption = "",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            max=1,
            help="Processes started to index and train; 1 with SQLite, 0 with Redis.",
        ),
    ] = None,
    tenant_percent: Annotated[
        int,
        typer.Option(
            "--tenant-percent",
            min=1,
            max=100,
            help="Of the queue, what one tenant's questions may take once another tenant has asked.",
        ),
    ] = 75,
    reader_seconds: Annotated[
        int,
        typer.Option(
            "--reader-seconds", min=1, help="How long a stream waits for who reads it no further."
        ),
    ] = 60,
    sender_seconds: Annotated[
        int,
        typer.Option(
            "--sender-seconds",
            min=1,
            help="How long a request waits for who sends it no further, and an HTTP body may take.",
        ),
    ] = 60,
    http_requests: Annotated[
        int, typer.Option("--http-requests", min=1, help="HTTP requests under way at once.")
    ] = 256,
    http: Annotated[
        str,
        typer.Option("--http", metavar="HOST:PORT", help="Where OpenAI's API is; empty: nowhere."),
    ] = "",
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Listen beyond this machine without encryption."),
    ] = False,
    auth: Annotated[
        bool | None,
        typer.Option("--auth/--no-auth", help="Ask for tokens; default: once there is one."),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", help="PEM: the server's certificate.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="PEM: its key.")] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option("--tls-client-ca", help="PEM: clients must show a certificate of it (mTLS)."),
    ] = None,
) -> None:
    """Run the server until Ctrl-C."""
    try:
        from engine.config import DEFAULT_MODEL
        from retrieval.crag import Condense, CragSettings
        from service.app import run_server
        from service.config import ServiceConfig
        from service.limits import Limits
        from service.routing.choice import RoutingPolicy
        from service.routing.gates import GateSettings
        from service.rpc.tls import tls_files
        from service.telemetry.logs import LogSettings
    except ImportError as error:
        raise missing_package(error) from error
    with errors_told(as_json=False):
        run_server(
            ServiceConfig(
                data=data.expanduser(),
                listen=listen,
                model=model or DEFAULT_MODEL,
                device=device,
                dtype=dtype,
                threads=threads,
                batch=batch,
                verbatim=verbatim,
                drafted=drafted,
                insecure=insecure,
                state=state,
                store=store,
                workers=workers,
                http=http,
                auth=auth,
                tls=tls_files(tls_certificate, tls_key, tls_client_ca),
                instant_tokens=instant_tokens,
                rehearse=rehearse,
                crag=CragSettings(condense=Condense(condense)),
                limits=Limits(
                    reader_seconds=reader_seconds,
                    sender_seconds=sender_seconds,
                    max_http_requests=http_requests,
                    max_tenant_percent=tenant_percent,
                ),
                policy=RoutingPolicy(
                    explore=explore, gates=GateSettings(stale=stale, decline_above=decline_above)
                ),
                metrics=metrics,
                otel=otel,
                logs=LogSettings(log_format, log_level, log_questions),
            )
        )
