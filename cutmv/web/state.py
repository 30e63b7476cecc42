"""The state of one web application, kept as its only Flask extension."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol, cast

from flask import Flask, current_app

from cutmv.dispatch import Dispatcher
from cutmv.monitoring import Monitor
from cutmv.progress import Live, ProgressFeed
from cutmv.services import Services
from cutmv.web.checks import Checks
from cutmv.web.door import Door
from cutmv.web.metrics import Metrics
from cutmv.web.sockets import SocketThread

#: The name under which Flask keeps the state.
EXTENSION = "cutmv"


class Background(Protocol):
    """What has threads that run beside the requests."""

    def start(self) -> None:
        """Start them."""

    def close(self) -> None:
        """End them."""


@dataclass(frozen=True)
class Web:
    """The services, what WebSockets follow, and what must end with the application."""

    services: Services
    feed: ProgressFeed
    live: Live
    sockets: SocketThread
    dispatcher: Dispatcher
    monitor: Monitor
    metrics: Metrics
    door: Door
    checks: Checks
    #: Entered by those who look at a video in this process: so many at once, each with a child.
    probing: threading.BoundedSemaphore
    #: Threads that run beside the requests; started already.
    background: tuple[Background, ...] = ()

    @property
    def hooks_anywhere(self) -> bool:
        """Whether people's webhooks may lead to this machine, its network, and by plain HTTP."""
        return not self.door.sign_in or self.services.settings.access.hook_targets == "any"

    def close(self) -> None:
        """Close the WebSockets, end the threads, and queue the steps again that run here."""
        self.sockets.close()
        for part in self.background:
            part.close()
        self.dispatcher.close()


def listen(app: Flask, addresses: Iterable[str], names: Iterable[str]) -> None:
    """Tell `app` on which addresses its server listens, and by which names it was asked to."""
    here = web_of(app)
    door = Door.of(here.services.settings, addresses, names)
    app.extensions[EXTENSION] = replace(here, door=door)


def web_of(app: Flask) -> Web:
    """The state of `app`."""
    return cast(Web, app.extensions[EXTENSION])


def web() -> Web:
    """The state of the application that handles this request."""
    return web_of(current_app)
