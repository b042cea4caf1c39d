"""What stages of an answer took, as text under the name of a machine. Knows nothing of its meaning."""

from service.state.database import Database


class KeptTimings:
    """One row a machine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, machine: str) -> str:
        """What was kept, empty where nothing was."""
        row = self._database.row("SELECT stages_json FROM timings WHERE machine = ?", (machine,))
        return str(row["stages_json"]) if row else ""

    def put(self, machine: str, stages_json: str) -> None:
        self._database.execute(
            "INSERT INTO timings (machine, stages_json) VALUES (?, ?) "
            "ON CONFLICT (machine) DO UPDATE SET stages_json = excluded.stages_json",
            (machine, stages_json),
        )
