"""Reads the response to a publish, which may say what the queue holds now."""

from __future__ import annotations

from typing import Any

from cutmv.transports.cloudflare.api import responses
from cutmv.transports.cloudflare.api.responses import Backlog
from cutmv.transports.cloudflare.errors import ServerFault


def published(document: dict[str, Any]) -> Backlog | None:
    """Return what a queue holds after a publish; none where the response does not say it."""
    responses.nothing(document)
    metadata = (document.get("result") or {}).get("metadata")
    metrics = metadata.get("metrics") if isinstance(metadata, dict) else None
    try:
        return responses.backlog({"result": metrics})
    except ServerFault:
        return None  # the messages are there all the same
