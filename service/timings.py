"""What answers took on this machine, learned as they come, so that the next one's cost is known."""

import platform
import threading

import structlog

from service.answers import Reading, Route, Usage
from service.errors import ServiceError
from service.routing.choice import amounts
from service.routing.costs import CostModel
from service.routing.facts import Facts
from service.state.kept_timings import KeptTimings

_KEPT_EVERY = 16  # answers
_USUAL = (Reading.DEFAULT, Reading.INDEXED)  # how the router has a text read
_log = structlog.stdlib.get_logger("longmemory.timings")


class Timings:
    """The cost model of one machine and model."""

    def __init__(self, kept: KeptTimings, model_fingerprint: str, device: str) -> None:
        self._kept, self._lock, self._learned = kept, threading.Lock(), 0
        self._machine = f"{platform.node()}/{device}/{model_fingerprint[:16]}"
        known = kept.get(self._machine)
        self.costs = CostModel.from_json(known) if known else CostModel()

    def learn(
        self, route: Route, facts: Facts, usage: Usage, reading: Reading = Reading.DEFAULT
    ) -> None:
        """From one answer that came to its end: each stage by the part of the time that was its own. A
        reading that only a caller asks for tells nothing of what the router would take.
        """
        wanted = amounts(route, facts)
        if not wanted:  # no model was asked
            return
        prefill = usage.first_token_seconds - usage.queue_seconds - usage.prepare_seconds
        seen = {"read": (float(usage.prompt_tokens), prefill)}
        if usage.output_tokens > 1:
            decoding = usage.total_seconds - usage.first_token_seconds
            seen["decode"] = (float(usage.output_tokens), decoding)
        for stage in ("search", "attend", "load"):
            if stage in wanted and reading in _USUAL:
                seen[stage] = (wanted[stage], usage.prepare_seconds)
        with self._lock:
            for stage, (amount, seconds) in seen.items():
                self.costs = self.costs.learned(stage, amount, max(0.0, seconds))
            self._learned += 1
            if self._learned % _KEPT_EVERY == 0:
                self._kept.put(self._machine, self.costs.to_json())

    def close(self) -> None:
        """Keeps what was learned since, if the state store is there."""
        try:
            self._kept.put(self._machine, self.costs.to_json())
        except ServiceError as error:
            _log.warning("what answers took lately was not kept", reason=error.reason)
