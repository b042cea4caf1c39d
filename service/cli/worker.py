"""`longmemory worker`: a process that indexes and trains, beside any number of others."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.output import DEFAULT_DATA, DataOption, StateOption, errors_told, stop
from service.client.types import ErrorReport


def worker(
    data: DataOption = DEFAULT_DATA,
    state: StateOption = "",
    once: Annotated[
        bool, typer.Option("--once", help="End after one job, or at once where none waits.")
    ] = False,
    model: Annotated[
        str, typer.Option("--model", help="A local folder or hub id; empty: the default model.")
    ] = "",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[
        str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")
    ] = "auto",
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="Threads of the model; 0: as many as are free.")
    ] = 0,
    instant_tokens: Annotated[
        int,
        typer.Option(
            "--instant-tokens",
            min=0,
            help="Corpora up to this many tokens get an instant cartridge by themselves; 0: none.",
        ),
    ] = 4096,
    lease: Annotated[
        float,
        typer.Option("--lease", help="Seconds until the job of a silent worker is given away."),
    ] = 30.0,
    log_format: Annotated[str, typer.Option("--log-format", help="console or json.")] = "console",
    log_level: Annotated[
        str, typer.Option("--log-level", help="debug, info, warning or error.")
    ] = "info",
) -> None:
    """Work on jobs until Ctrl-C; the job under way goes back to the queue."""
    with errors_told(as_json=False):
        from engine.config import DEFAULT_MODEL, EngineConfig
        from engine.errors import EngineError
        from service.errors import ServiceError
        from service.telemetry.logs import LogSettings
        from service.worker import WorkerSettings, run_worker

        engine = EngineConfig(data.expanduser(), model or DEFAULT_MODEL, device, dtype, threads)
        try:
            run_worker(
                WorkerSettings(
                    engine,
                    state,
                    instant_tokens,
                    only_one=once,
                    lease_seconds=lease,
                    logs=LogSettings(log_format, log_level),
                )
            )
        except ServiceError as error:
            stop(ErrorReport(error.code, error.reason, error.message), as_json=False)
        except EngineError as error:
            stop(ErrorReport("FAILED_PRECONDITION", "MODEL_UNUSABLE", str(error)), as_json=False)
