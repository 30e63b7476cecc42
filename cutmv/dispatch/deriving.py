"""The tasks that make derivatives of uploads, and how they are sent to the broker."""

from collections.abc import Callable
from typing import Any

from cutmv.config import Settings
from cutmv.jobs import ANALYSIS, OVERVIEW, PROXY, Derivative, Upload
from cutmv.media import MediaInfo, analysis_limit_s, overview_limit_s, proxy_limit_s
from cutmv.worker import (
    HARD_LIMIT_GRACE_S,
    analyse_upload,
    overview_upload,
    proxy_upload,
    queue_for,
)

#: The task of each derivative of an upload, and the seconds that it may take, by its name.
TASKS: dict[str, tuple[Any, Callable[[MediaInfo], float]]] = {
    ANALYSIS.name: (analyse_upload, analysis_limit_s),
    OVERVIEW.name: (overview_upload, overview_limit_s),
    PROXY.name: (proxy_upload, proxy_limit_s),
}


def publish_derivative(settings: Settings, kind: Derivative[Any], upload: Upload) -> None:
    """Have a worker make a derivative of an upload. Raises whatever the broker raises."""
    task, limit_s_of = TASKS[kind.name]
    soft_s = limit_s_of(upload.info) + HARD_LIMIT_GRACE_S
    limit_s = soft_s + HARD_LIMIT_GRACE_S
    task.signature(
        (upload.id,),
        soft_time_limit=soft_s,
        time_limit=limit_s,
        queue=queue_for(settings, limit_s),
    ).apply_async()
