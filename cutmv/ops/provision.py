"""Plan what makes the account what the deployment needs: queues, buckets, event notifications."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from cutmv.config import ConfigError, Settings
from cutmv.install import install_command, missing_packages
from cutmv.ops.deployment import client_of, options_of
from cutmv.ops.notification_plan import plan_notifications
from cutmv.ops.plan import Change, Item, LeftAlone
from cutmv.ops.queue_plan import QueuePlanner
from cutmv.storage import StorageError
from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.leases import bucket_name, token_keys_of
from cutmv.transports.cloudflare.options import AUTO_LEDGER, Options


@contextmanager
def planned(settings: Settings, origins: Sequence[str] = ()) -> Iterator[list[Item]]:
    """Yield the items of the plan; changes among them can be applied until the end of the block.

    Pages of `origins` may read the bucket, as may those of WEBHOOK_URL's site. Raises ConfigError
    when nothing is configured; KombuError and StorageError when the account gives no answer.
    """
    options = options_of(settings)
    if options is None and not settings.uses_r2:
        raise ConfigError(
            "There is nothing to provision: set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN for"
            " queues, R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY for a bucket."
        )
    items: list[Item] = []
    client = None if options is None else client_of(settings, options)
    try:
        if client is None or options is None:
            advice = "set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN to have them"
            items.append(LeftAlone("queues", f"the mode is {settings.mode}", advice))
        else:
            items += QueuePlanner(client, options, settings.queue_names).plan()
            items += _ledger(settings, options, client)
        if settings.uses_r2:
            items += _bucket(settings, options, origins)
            if client is not None and options is not None:
                items += plan_notifications(client, options, settings)
        else:
            advice = "set R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY to keep files in R2"
            items.append(LeftAlone("bucket", "R2_ACCESS_KEY_ID is not set", advice))
        yield items
    finally:
        if client is not None:
            client.close()


def _bucket(settings: Settings, options: Options | None, origins: Sequence[str]) -> Sequence[Item]:
    # Needs boto3, which a deployment without R2 may not have.
    from cutmv.ops import bucket_plan

    try:
        allowed = bucket_plan.origins(settings, origins)
        return bucket_plan.files_bucket(settings, options, allowed).plan()
    except bucket_plan.BucketDenied:
        # Workers should have such a key, and the queues can be provisioned without another.
        why = "this R2 key may not administer it"
        advice = "run this once with an R2 key of the kind Admin Read & Write"
        return [LeftAlone(f"bucket {settings.r2_bucket}", why, advice, blocks=True)]


def _ledger(settings: Settings, options: Options, client: Client) -> Sequence[Item]:
    """The bucket of the lease ledger, where workers would look for it and find no other before."""
    if options.lease_ledger != AUTO_LEDGER or options.edge_url or settings.uses_r2:
        return []
    what = f"bucket {bucket_name(options.queue_name_prefix)}, for the lease ledger"
    if missing_packages(["boto3"]):
        return [LeftAlone(what, "the package boto3 is missing", install_command("r2"))]
    from cutmv.ops import bucket_plan

    key = token_keys_of(client, options)
    advice = (
        "for workers on several machines, give the API token the permission Workers R2 Storage:"
        " Edit; its id and the SHA-256 of its value are a key of R2"
    )
    if key is None:
        return [LeftAlone(what, "the API token opens no R2", advice)]
    try:
        planned = bucket_plan.ledger_bucket(settings, options, key).plan()
        return [_optional(item) for item in planned]
    except bucket_plan.BucketDenied:
        return [LeftAlone(what, "the API token may not make it", advice)]
    except bucket_plan.BucketError as error:
        return [LeftAlone(what, str(error), "run this again where R2 can be reached")]


def _optional(item: Item) -> Item:
    """An item whose change may be refused: that is a note, since all else works without it."""
    if not isinstance(item, Change):
        return item
    change = item

    def apply() -> str | None:
        try:
            return change.apply()
        except StorageError as error:
            return str(error)

    return replace(change, apply=apply)
