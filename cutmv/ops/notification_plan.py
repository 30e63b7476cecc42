"""Plan R2's event notifications: that it tells of the objects that others put into the bucket."""

from cutmv.config import Settings
from cutmv.ops.plan import Fine, Item, LeftAlone, compared
from cutmv.transports.cloudflare.admin import deadline
from cutmv.transports.cloudflare.api import (
    Client,
    NotificationRule,
    add_notification_rule,
    notification_rules,
)
from cutmv.transports.cloudflare.errors import AccessDenied, QueueMissing
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import QueueDirectory

#: What a token that may not is told.
PERMISSION = "give the API token the permission Workers R2 Storage: Edit, and run this again"


def plan_notifications(client: Client, options: Options, settings: Settings) -> list[Item]:
    """Return the items of the plan; none where no object of others becomes an upload.

    Raises a `CloudflareError`, as applying an item does.
    """
    kombu_name, bucket = settings.incoming_queue_name, settings.r2_bucket
    if kombu_name is None:
        return []
    name = QueueDirectory(client, options).queue_name(kombu_name)
    wanted = NotificationRule(settings.incoming.prefix)
    what = f"event notifications of {bucket} to {name}"
    try:
        queue_id = _queue_id(client, name)
        rules = notification_rules(client, bucket, queue_id, deadline()) if queue_id else []
    except AccessDenied:
        return [LeftAlone(what, "the API token may not read them", PERMISSION, blocks=True)]
    if any(rule.covers(wanted) for rule in rules):
        return [Fine(what, f"prefix {wanted.prefix}, all actions")]
    if other := next((rule for rule in rules if rule.prefix == wanted.prefix), None):
        why = f"there is a rule for {other.prefix} that tells of {', '.join(other.actions)} alone"
        advice = f"npx wrangler r2 bucket notification delete {bucket} --queue {name}"
        return [LeftAlone(what, why, f"{advice}, and run this again", blocks=True)]

    def apply() -> None:
        made = _queue_id(client, name)
        if made is None:
            raise QueueMissing(f"there is no queue {name!r} any more: run this again")
        try:
            add_notification_rule(client, bucket, made, wanted, deadline())
        except AccessDenied as error:
            line = f"R2 can't be told to send event notifications: {PERMISSION}"
            raise AccessDenied(line, cause=error) from None

    return [compared(what, None, {"prefix": wanted.prefix, "actions": wanted.actions}, apply)]


def _queue_id(client: Client, name: str) -> str | None:
    found = (each for each in client.list_queues(deadline()) if each["queue_name"] == name)
    return next((str(each["queue_id"]) for each in found), None)
