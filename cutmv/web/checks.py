"""Whether the database and the storage work: threads look, so that who asks waits for neither.

A look may take as long as a dead disk or network likes. So each has a thread of its own, which
notes what it saw; what is too old to be true counts as a failure.
"""

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from cutmv.logs import Outage
from cutmv.services import Services
from cutmv.storage import StorageError
from cutmv.transports.cloudflare import note_trouble

#: Seconds between two looks, and after which what was seen is no longer believed.
INTERVAL_S, STALE_S = 2.0, 15.0
#: Seconds that a look has to end when the server does.
CLOSE_S = 1.0

log = logging.getLogger(__name__)


class Checks:
    """Looks at the database and the storage of some services until it is closed."""

    def __init__(self, services: Services) -> None:
        self._checks = (
            Check("database", services.store.check),
            Check("storage", services.storage.check),
        )

    def start(self) -> None:
        """Start the threads."""
        for check in self._checks:
            check.start()

    def close(self) -> None:
        """End the threads."""
        for check in self._checks:
            check.close()

    def report(self) -> dict[str, bool]:
        """Whether each works; looks now where there are no threads. Waits for nothing else."""
        return {check.name: check.works() for check in self._checks}


class Check:
    """Looks at one neighbour: `look` raises an error when it does not work."""

    def __init__(self, name: str, look: Callable[[], object]) -> None:
        self.name, self._look = name, look
        self._outage = Outage(log, f"the {name}", "the server says that it is unwell")
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        #: When the latest look ended, and whether it worked.
        self._seen = (float("-inf"), False)

    def start(self) -> None:
        """Start the thread, which looks at once."""
        self._thread = threading.Thread(target=self._run, name=f"check-{self.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; one whose look hangs ends with the process."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def works(self) -> bool:
        """Whether it worked when it was last looked at, STALE_S seconds ago at most."""
        if self._thread is None:
            self.look()
        at, works = self._seen
        return works and time.monotonic() - at < STALE_S

    def look(self) -> None:
        """Look, and note whether it works."""
        try:
            self._look()
        except (SQLAlchemyError, StorageError, OSError) as error:
            # No message of theirs, which may name hosts and hold statements.
            self._outage.began(type(error).__name__)
            works = False
        else:
            self._outage.ended()
            works = True
        self._seen = (time.monotonic(), works)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self.look()
            except BaseException as error:  # the thread must go on, whatever failed
                note_trouble("checks", error, "it looks again")
                self._seen = (time.monotonic(), False)
            self._closing.wait(INTERVAL_S)
