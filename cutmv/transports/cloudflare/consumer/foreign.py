"""Makes a task of a message that no Celery has published, in a queue that the user names.

Cloudflare's own services (R2's event notifications, among others) and other programs put plain
documents into queues. `adopted` writes such a message as the message of a task whose one argument
the document is: a ``json`` body as what it says, a ``text`` body as text, and ``bytes`` as bytes.
From then on it is a message like any other: it has an id, it is leased, retried and dead-lettered.

The task's id is made of the queue and of the id that Cloudflare gave the message, so that a
redelivered copy has the same. A message of kombu's is left as it is, also where it is JSON.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from kombu.utils import json as kombu_json

#: Characters of a document that a task's ``argsrepr`` shows, as Celery's own.
SHOWN = 1024


def adopted(task: str | None, queue: str, pulled: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entry of a pull's response with the text of a message for `task`, of `queue`.

    An entry is returned as it is where there is no such task, where it has a message of kombu's
    already, or a body of a type that can't be read (Workers' own, ``v8``).
    """
    content = _content(pulled) if task else None
    if content is None or _is_kombu(content):
        return pulled
    from celery.utils.saferepr import saferepr  # which who only publishes need not load

    argument, document = content
    task_id = str(uuid5(NAMESPACE_URL, f"cloudflare://{queue}/{pulled['id']}"))
    message = {
        # Its argument as it was written: to read and write it once more could change it.
        "body": f'[[{argument}], {{}}, {{"callbacks": null, "errbacks": null, "chain": null, '
        f'"chord": null}}]',
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": task,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "argsrepr": saferepr((document,), SHOWN),
            "kwargsrepr": "{}",
            "origin": f"queue {queue}",
        },
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "utf-8",
        },
        "id": task_id,
    }
    return {**pulled, "body": json.dumps(message), "metadata": {"CF-Content-Type": "text"}}


def _content(pulled: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Return a body as JSON of kombu's, and as what the task gets; none where it can't be read."""
    body = str(pulled.get("body", ""))
    kind = (pulled.get("metadata") or {}).get("CF-Content-Type") or "text"
    if kind == "text":
        return json.dumps(body), body
    if kind not in ("json", "bytes"):
        return None
    try:
        data = base64.b64decode(body, validate=True)
        if kind == "bytes":
            return kombu_json.dumps(data), data
        text = data.decode()
        return text, json.loads(text)
    except (ValueError, RecursionError):  # of base64, of UTF-8 and of JSON
        return None


def _is_kombu(content: tuple[str, Any]) -> bool:
    """Return whether this is an envelope: it has a body, and the headers or properties of one."""
    document = content[1]
    if isinstance(document, str | bytes):
        try:
            document = json.loads(document)
        except (ValueError, RecursionError):
            return False
    return (
        isinstance(document, dict)
        and "body" in document
        and not document.keys().isdisjoint(("headers", "properties"))
    )
