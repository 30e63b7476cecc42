"""What a publish sends, and its response, which may say what the queue holds now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cutmv.transports.cloudflare.api import responses
from cutmv.transports.cloudflare.api.responses import Backlog
from cutmv.transports.cloudflare.errors import ServerFault


def text_messages(texts: Sequence[tuple[str, int | None]], longest: float) -> list[dict[str, Any]]:
    """Return messages in the API's form: each is a text and its delay, of `longest` s at most."""
    return [
        {"body": text, "content_type": "text"}
        | ({} if delay is None else {"delay_seconds": min(delay, longest)})
        for text, delay in texts
    ]


def published(document: dict[str, Any]) -> Backlog | None:
    """Return what a queue holds after a publish; none where the response does not say it."""
    responses.nothing(document)
    metadata = (document.get("result") or {}).get("metadata")
    metrics = metadata.get("metrics") if isinstance(metadata, dict) else None
    try:
        return responses.backlog({"result": metrics})
    except ServerFault:
        return None  # the messages are there all the same
