"""The limits of a deployment: what one client, one job and one process may use."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

Network = IPv4Network | IPv6Network

#: Bytes a second that a client of the web server sends or takes at least: 64 kbit/s.
MIN_RATE = 8_000

#: Reads the variable of a name as a whole number, or gives the default.
Number = Callable[[str, int], int]


#: Bytes that each person who signs in may have stored, where nobody said (50 GB).
STORED_BYTES = 50_000_000_000
#: Rows of the database that each of them may have, where nobody said: some 50 MB.
ROWS = 100_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one client, one job and one process may use at most.

    A client is a person, or an address where nobody signs in. The names in the environment are
    these in capitals, behind `CUTMV_MAX_`.
    """

    #: Of a client: uploads, downloads and WebSockets at once; requests a minute.
    uploads: int = 8
    downloads: int = 16
    sockets: int = 32
    requests: int = 3_000
    #: Of a person: jobs that run at once; steps that wait or run.
    jobs: int = 3
    waiting_steps: int = 2_000
    #: Of a person: bytes stored. 0 where nobody said: see `stored_bytes_of`.
    stored_bytes: int = 0
    #: Of a person: rows of the database. 0 where nobody said: see `rows_of`.
    rows: int = 0
    #: Of a person: uploads in parts that have begun and are not complete.
    unfinished_uploads: int = 100
    #: Of a client: steps that a broker has, or that run. Brokers hand out what came first first: so
    #: another client waits for that many at most, and not for all that somebody wants.
    steps_ahead: int = 64
    #: Of a person: derivatives of uploads that wait or are being made; of one kind, those that a
    #: broker has.
    derivatives: int = 200
    derivatives_ahead: int = 8
    #: Of a job: outputs; seconds of one clip, and of all outputs.
    outputs: int = 200
    clip_seconds: int = 4 * 3_600
    job_seconds: int = 48 * 3_600
    #: Of the web process: videos that are looked at at once; uploads and downloads of all
    #: clients at once, each of which holds a thread; WebSockets, each of which is an open file.
    probes: int = 4
    all_uploads: int = 32
    all_downloads: int = 32
    all_sockets: int = 4_000
    all_bodies: int = 32
    short_requests: int = 40
    #: Threads that answer `/healthz` alone; connections at once that have no WebSocket.
    health_checks: int = 2
    connections: int = 1_000

    @classmethod
    def read(cls, number: Number) -> "Limits":
        """Read them by `number`, which raises its own errors."""
        usual = asdict(cls())
        return cls(**{name: number(variable(name), most) for name, most in usual.items()})

    def stored_bytes_of(self, person_id: str | None) -> int | None:
        """The bytes that a person may have stored; None for no bound.

        Where nobody said, the one person of a server where nobody signs in has none: the disk is
        theirs.
        """
        return self.stored_bytes or (None if person_id is None else STORED_BYTES)

    def rows_of(self, person_id: str | None) -> int | None:
        """The rows of the database that a person may have; None for no bound, as of bytes."""
        return self.rows or (None if person_id is None else ROWS)


def variable(name: str) -> str:
    """The environment's name of a limit."""
    return f"CUTMV_MAX_{name.upper()}"


def networks(text: str) -> tuple[Network, ...]:
    """Read addresses and networks (`10.0.0.0/8`), separated by commas. Raises ValueError."""
    return tuple(ip_network(each.strip()) for each in text.split(",") if each.strip())
