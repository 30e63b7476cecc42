"""What one web application holds, kept as its only Flask extension."""

import threading
from dataclasses import dataclass, field
from typing import cast

from flask import Flask, current_app

from cutmv.jobs.janitor import Janitor
from cutmv.jobs.submit import Dispatcher
from cutmv.progress import EventReceiver, Hub, SeenIds
from cutmv.services import Services
from cutmv.web.metrics import Metrics

#: The name under which Flask keeps it.
EXTENSION = "cutmv"


@dataclass(frozen=True)
class Web:
    """The services below, the hub that watchers listen to, and what must end with the app."""

    services: Services
    hub: Hub
    dispatcher: Dispatcher
    metrics: Metrics
    #: What runs beside the requests, and is running.
    background: tuple[Janitor | EventReceiver, ...] = ()
    seen: SeenIds = field(default_factory=SeenIds)
    #: Set when the server is about to stop: watchers are sent away, so that their threads end.
    stopping: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        """Send the watchers away and end the threads, giving back the steps they run."""
        self.stopping.set()
        for part in self.background:
            part.close()
        self.dispatcher.close()


def web_of(app: Flask) -> Web:
    """What `app` holds."""
    return cast(Web, app.extensions[EXTENSION])


def web() -> Web:
    """What the application that handles this request holds."""
    return web_of(current_app)
