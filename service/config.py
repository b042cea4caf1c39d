"""Settings of one service: where its data lies, where it listens, which model it serves."""

import platform
from dataclasses import dataclass, field
from pathlib import Path

from engine.config import DEFAULT_MODEL, EngineConfig
from engine.drafting import MOST_DRAFTED
from engine.elsewhere import NOWHERE, Elsewhere
from retrieval.crag import CragSettings
from retrieval.infini_retri import ReadingSettings
from service.limits import Limits
from service.routing.choice import RoutingPolicy
from service.rpc.tls import TlsFiles
from service.state.open_store import is_shared
from service.telemetry.logs import LogSettings

STATE_VARIABLE, STORE_VARIABLE = "LONGMEMORY_STATE", "LONGMEMORY_STORE"
"""Name the state and the store of files; a server's worker finds them here, since all can read the
arguments of a process.
"""

MOST_REHEARSED = 64


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Composes what the rooms need; every part validates itself."""

    data: Path
    listen: str = "127.0.0.1:7420"
    model: str = DEFAULT_MODEL
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    batch: int = 16  # answers decoded at once
    verbatim: bool = True  # small models quote their evidence word for word
    drafted: int = MOST_DRAFTED  # tokens guessed ahead of an answer in one pass; 0: none
    insecure: bool = False
    http: str = ""  # where OpenAI's API is; empty: nowhere
    auth: bool | None = None  # None: as soon as one token exists
    tls: TlsFiles | None = None
    limits: Limits = field(default_factory=Limits)
    policy: RoutingPolicy = field(default_factory=RoutingPolicy)
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    crag: CragSettings = field(default_factory=CragSettings)
    instant_tokens: int = 4096  # corpora up to this get a cartridge by themselves; 0: none does
    rehearse: int = 0  # questions that a corpus is asked of itself once it is indexed
    state: str = ""  # where records are kept: a URL of Redis; empty: SQLite in the data folder
    store: str = ""  # where files are kept too: a URL; empty: in the data folder alone
    workers: int | None = None  # 0 or 1 process to index and train; None: 1 with SQLite alone
    resident_corpora: int = 8  # of all tenants together
    resident_cartridge_bytes: int = 2 * 1024**3  # of all tenants together
    resident_tenants: int = 64  # beside the default one, and beside them who is calling
    metrics: str = ""  # HOST:PORT of the metrics page; empty: there is none
    otel: bool = False  # whether spans go to an OpenTelemetry collector
    logs: LogSettings = field(default_factory=LogSettings)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; give a whole number of at least 1")
        if not 0 <= self.drafted <= 64:
            raise ValueError(f"drafted is {self.drafted}; give a whole number in 0..64")
        if self.resident_tenants < 1:
            raise ValueError(f"resident_tenants is {self.resident_tenants}; give at least 1")
        if self.store and not is_shared(self.state):
            raise ValueError("store: it is of use to several machines; name their --state too")
        check_rehearsed(self.rehearse)

    @property
    def engine(self) -> EngineConfig:
        return EngineConfig(self.data, self.model, self.device, self.dtype, self.threads)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a data folder, and where else copies of them are kept."""

    data: Path  # no link is followed below it
    elsewhere: Elsewhere = field(default=NOWHERE, compare=False, repr=False)

    @property
    def database(self) -> Path:
        return self.data / "longmemory.sqlite3"

    @property
    def catalogs(self) -> Path:
        return self.data / "indexes"

    @property
    def windows(self) -> Path:
        return self.data / "windows"

    @property
    def uploads(self) -> Path:
        return self.data / "uploads"

    @property
    def cartridges(self) -> Path:
        return self.data / "cartridges"

    @property
    def calibrations(self) -> Path:
        return self.data / "calibrations"

    @property
    def work(self) -> Path:
        return self.data / "work"

    @property
    def cores(self) -> Path:
        """Of this machine alone, where several share the folder."""
        return self.data / "cores" / platform.node()

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    def cartridge(self, corpus_id: str, cartridge_id: str) -> Path:
        """The folder of a stored cartridge; ids are validated before they come here."""
        return self.cartridges / corpus_id / cartridge_id


def check_rehearsed(questions: int) -> None:
    """Raises ValueError where a corpus cannot be asked so many questions of itself."""
    if questions and not 2 <= questions <= MOST_REHEARSED:
        raise ValueError(f"rehearse is {questions}; give 0, or 2 to {MOST_REHEARSED} questions")
