"""`longmemory worker`: a process that indexes and trains, beside any number of others."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.output import (
    DEFAULT_DATA,
    CondenseOption,
    DataOption,
    DeviceOption,
    DtypeOption,
    InstantTokensOption,
    LogFormatOption,
    LogLevelOption,
    ModelOption,
    RehearseOption,
    StateOption,
    StoreOption,
    errors_told,
)


def worker(
    data: DataOption = DEFAULT_DATA,
    state: StateOption = "",
    store: StoreOption = "",
    once: Annotated[
        bool, typer.Option("--once", help="End after one job, or at once where none waits.")
    ] = False,
    model: ModelOption = "",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="Threads of the model; 0: as many as are free.")
    ] = 0,
    instant_tokens: InstantTokensOption = 4096,
    condense: CondenseOption = "extracts",
    rehearse: RehearseOption = 0,
    lease: Annotated[
        float,
        typer.Option("--lease", help="Seconds until the job of a silent worker is given away."),
    ] = 30.0,
    log_format: LogFormatOption = "console",
    log_level: LogLevelOption = "info",
) -> None:
    """Work on jobs until Ctrl-C; the job under way goes back to the queue."""
    with errors_told(as_json=False):
        from engine.config import DEFAULT_MODEL, EngineConfig
        from retrieval.crag import Condense
        from service.telemetry.logs import LogSettings
        from service.worker import WorkerSettings, run_worker

        engine = EngineConfig(data.expanduser(), model or DEFAULT_MODEL, device, dtype, threads)
        run_worker(
            WorkerSettings(
                engine,
                state,
                store,
                instant_tokens,
                Condense(condense),
                rehearse,
                only_one=once,
                lease_seconds=lease,
                logs=LogSettings(log_format, log_level),
            )
        )
