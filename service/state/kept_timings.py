"""What stages of an answer took, as text under the name of a machine. Knows nothing of its meaning."""

from service.state.store import Store
from service.state.tables import TIMINGS


class KeptTimings:
    """One record a machine."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, machine: str) -> str:
        """What was kept, empty where nothing was."""
        record = TIMINGS.get(self._store, (machine,))
        return str(record["stages"]) if record else ""

    def put(self, machine: str, stages: str) -> None:
        TIMINGS.put(self._store, (machine,), {"stages": stages})
