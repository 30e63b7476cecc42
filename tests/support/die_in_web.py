"""Keep an upload, submit a job or have an overview made as the web server does, and die by SIGKILL.

python -m tests.support.die_in_web upload FILE POINT
python -m tests.support.die_in_web submit UPLOAD_ID POINT
python -m tests.support.die_in_web derive UPLOAD_ID POINT
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cutmv.dispatch import Dispatcher, dispatcher
from cutmv.jobs import (
    OVERVIEW,
    Backlog,
    Derivatives,
    JobRequest,
    JobStore,
    accept_upload,
    reserve,
)
from cutmv.jobs.uploads import accept
from cutmv.progress import ProgressFeed
from cutmv.services import services
from cutmv.storage import LocalStorage
from cutmv.web.api.uploads.incoming import Body
from tests.support.die_at import deadly

#: What replaces each function: where it is, its name, and whether the call is made before death.
UPLOAD_POINTS: dict[str, tuple[Any, str, bool]] = {
    "in the middle of the file": (LocalStorage, "_keep", False),
    "after the file is stored": (LocalStorage, "put_stream", True),
    "after the probe": (accept, "probe_stored", True),
    "after the upload is added": (JobStore, "add_upload", True),
}
SUBMIT_POINTS: dict[str, tuple[Any, str, bool]] = {
    "before the job is kept": (JobStore, "add_job", False),
    "before its messages are sent": (dispatcher, "publish", False),
    "after its messages are sent": (dispatcher, "publish", True),
    "after that is noted": (Backlog, "sent", True),
}
DERIVE_POINTS: dict[str, tuple[Any, str, bool]] = {
    "before it is noted": (Derivatives, "ask", False),
    "after it is noted": (Derivatives, "ask", True),
    "before its message is sent": (dispatcher, "publish_derivative", False),
    "after its message is sent": (dispatcher, "publish_derivative", True),
    "after that is noted": (Derivatives, "sent", True),
}
POINTS = {"upload": UPLOAD_POINTS, "submit": SUBMIT_POINTS, "derive": DERIVE_POINTS}


def main() -> None:
    """Replace the named function by one that ends this process, and do what the server does."""
    what, argument, point = sys.argv[1:]
    owner, name, call_it = POINTS[what][point]
    setattr(owner, name, deadly(getattr(owner, name), call_it))
    here = services()
    if what == "upload":
        body = Body(iter([Path(argument).read_bytes()]))
        incoming: Any = SimpleNamespace(filename="song.mp4", body=body, finish=lambda: None)
        with reserve(here.store, None, None) as held:
            held.hold(0)
            accept_upload(
                here.store, here.storage, incoming, max_bytes=1 << 30, room=here.room, held=held
            )
    elif what == "derive":
        Dispatcher(here, ProgressFeed()).derive(OVERVIEW, here.store.upload(argument))
    else:
        request = JobRequest(upload_id=argument, clips=("0-1", "1-2"))
        Dispatcher(here, ProgressFeed()).submit(request)


if __name__ == "__main__":
    main()
