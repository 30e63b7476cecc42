"""Open files: how many this process may have, and how many of them its clients get."""

from contextlib import suppress
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

#: Files that a process asks for: a connection is one, and a WebSocket. The usual 1,024 are kept low
#: for programs that use select(2).
FILES = 16_384


def allow_files() -> None:
    """Have this process open FILES, or as many as the system lets it."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    most = FILES if hard == RLIM_INFINITY else min(FILES, hard)
    if soft != RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):  # a system with a bound that it does not tell
            setrlimit(RLIMIT_NOFILE, (most, hard))


def most_connections(wanted: int) -> int:
    """Connections at once beside WebSockets, where so many are wanted: half of all files."""
    return min(wanted, _files() // 2)


def most_sockets(wanted: int) -> int:
    """WebSockets open at once, where so many are wanted: a quarter of all files at most."""
    return min(wanted, _files() // 4)


def _files() -> int:
    soft = getrlimit(RLIMIT_NOFILE)[0]
    return FILES if soft == RLIM_INFINITY else soft
