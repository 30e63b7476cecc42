"""R2's event notifications: of which changes of a bucket's objects R2 tells by a queue's messages.

A bucket has rules for each queue. To set rules adds them to those that there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cutmv.transports.cloudflare.api import responses
from cutmv.transports.cloudflare.api.client import Client
from cutmv.transports.cloudflare.errors import NotFound, ServerFault

#: All that R2 can tell of: that an object is there, or is another; and that it is gone.
ACTIONS = (
    "PutObject",
    "CopyObject",
    "CompleteMultipartUpload",
    "DeleteObject",
    "LifecycleDeletion",
)


@dataclass(frozen=True, slots=True)
class NotificationRule:
    """R2 tells of these actions on objects whose keys begin with `prefix` and end with `suffix`."""

    prefix: str
    actions: tuple[str, ...] = ACTIONS
    suffix: str = ""

    def covers(self, other: NotificationRule) -> bool:
        """Whether R2 tells by this rule of all that it would tell of by the other."""
        return (
            other.prefix.startswith(self.prefix)
            and other.suffix.endswith(self.suffix)
            and set(other.actions) <= set(self.actions)
        )


def notification_rules(
    client: Client, bucket: str, queue_id: str, deadline: float
) -> list[NotificationRule]:
    """Return the rules by which R2 tells a queue of a bucket's objects; raises a CloudflareError.

    `AccessDenied` where the token lacks the permission *Workers R2 Storage*.
    """
    try:
        return client.call("GET", _path(bucket, queue_id), _rules, deadline)
    except NotFound:  # neither the bucket nor the queue needs to have any
        return []


def add_notification_rule(
    client: Client,
    bucket: str,
    queue_id: str,
    rule: NotificationRule,
    deadline: float,
) -> None:
    """Have R2 tell a queue of a bucket's objects by one more rule; raises as the above."""
    told = {"actions": list(rule.actions), "description": "cutmv", "prefix": rule.prefix}
    body = {"rules": [told | ({"suffix": rule.suffix} if rule.suffix else {})]}
    client.call("PUT", _path(bucket, queue_id), responses.nothing, deadline, body)


def _path(bucket: str, queue_id: str) -> str:
    name = quote(bucket, safe="")
    return f"/event_notifications/r2/{name}/configuration/queues/{queue_id}"


def _rules(document: Mapping[str, Any]) -> list[NotificationRule]:
    result = document.get("result") or {}
    rules = result.get("rules") if isinstance(result, dict) else None
    try:
        return [
            NotificationRule(
                str(each.get("prefix") or ""),
                tuple(map(str, each["actions"])),
                str(each.get("suffix") or ""),
            )
            for each in rules or ()
        ]
    except (AttributeError, KeyError, TypeError):
        raise ServerFault("Cloudflare's list of notification rules makes no sense") from None
