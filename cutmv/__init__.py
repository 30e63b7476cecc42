"""CUTMV cuts music videos: FFmpeg work as Celery tasks, on Cloudflare Queues, Redis, or nothing.

Importing this package registers the ``cloudflare`` transport with kombu, and imports nothing of
the video product; ``celery -A cutmv`` finds the Celery app here.
"""

from typing import Any

from cutmv.transports import cloudflare as cloudflare

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # `celery -A cutmv` looks for this name. It is imported late, so that those who use the
    # transport alone need no more.
    if name == "celery":
        from cutmv.app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
