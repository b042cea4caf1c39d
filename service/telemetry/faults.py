"""A process that is to be killed for a test says so when it starts."""

import structlog

from engine.fail_point import VARIABLE, asked_fault

_log = structlog.stdlib.get_logger("longmemory")


def tell_fault() -> None:
    """Warns of a fail point that the environment names. Raises ValueError for one that is not there."""
    if fault := asked_fault():
        _log.warning(
            "this process will kill or stop itself, as a test asked of it",
            variable=VARIABLE, point=fault.name, at_pass=fault.number, signal=fault.signal.name,
        )  # fmt: skip
