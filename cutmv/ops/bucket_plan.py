"""Plan the buckets of a deployment: that each exists, its CORS rule, and its lifecycle rules.

Ours have ids of ours; all other rules are kept. An R2 key of the kind *Object Read & Write* may use
a bucket and not administer it; `BucketError` then says what to do.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from cutmv.config import RESULT_EXPIRES_S, RESULTS_PREFIX, Settings
from cutmv.ops.plan import Item, LeftAlone, compared
from cutmv.storage import StorageError, open_client
from cutmv.transports.cloudflare.leases import bucket_name, ledger
from cutmv.transports.cloudflare.messages import (
    claim_check,
    expiry_rule,
    lifecycle_rules,
    object_keys,
    put_lifecycle_rule,
    r2_endpoint,
)
from cutmv.transports.cloudflare.options import AUTO_LEDGER, Options

#: The ids of our CORS rule, and of our rule for multipart uploads that nobody completes.
CORS_ID, UNFINISHED_ID = "cutmv", "cutmv-abort-unfinished"
#: Days after which a multipart upload that nobody completed is aborted. The janitor of a web server
#: aborts it sooner.
UNFINISHED_DAYS = 4
#: The region of the bucket: R2 takes it for "auto", which other S3 servers refuse for a new bucket.
REGION = "us-east-1"
#: Seconds for which a browser caches the CORS rule.
CORS_MAX_AGE_S = 3600
#: S3's error codes for a key without the permission.
_DENIED = {"403", "AccessDenied"}
#: S3's error codes where there is no bucket, or no such configuration.
_MISSING = {"404", "NoSuchBucket", "NotFound", "NoSuchCORSConfiguration"}


class BucketError(StorageError):
    """The bucket can't be read or changed; one line that says what to do."""


class BucketDenied(BucketError):
    """The R2 key lacks the permission."""


class BucketPlanner:
    """Plans one bucket. Its methods and its items raise `BucketError`.

    `key` is the R2 key's id and its secret. Pages of `origins` may use the bucket; it has no CORS
    rule where they are None.
    """

    def __init__(
        self,
        name: str,
        endpoint: str,
        key: tuple[str, str],
        rules: Iterable[Any],
        origins: Sequence[str] | None = None,
    ) -> None:
        self._name, self._origins, self._rules = name, origins, list(rules)
        self._client = open_client(endpoint, *key, REGION)

    def plan(self) -> list[Item]:
        """Return the items of the plan, in the order in which changes must be applied."""
        there = self.is_there()
        have: dict[str, Any] | None = {} if there else None
        bucket = compared(f"bucket {self._name}", have, {}, self._create)
        cors = [] if self._origins is None else [self._cors(there, self._origins)]
        return [bucket, *cors, *self._lifecycle(there)]

    def is_there(self) -> bool:
        """Whether there is such a bucket, in this account."""
        try:
            with self._bucket_errors("look for it"):
                self._client.head_bucket(Bucket=self._name)
        except _Missing:
            return False
        return True

    def _create(self) -> None:
        with self._bucket_errors("create it"):
            self._client.create_bucket(Bucket=self._name)

    # CORS.

    def _cors(self, there: bool, origins: Sequence[str]) -> Item:
        what = f"CORS rule {CORS_ID} of {self._name}"
        ours = next(filter(_is_ours, self._cors_rules(there)), None)
        known = ours.get("AllowedOrigins", []) if ours else []
        # Origins that were allowed stay allowed: another site may need them.
        wanted = list(dict.fromkeys([*known, *origins]))
        if not wanted:
            advice = "set CUTMV_URL to the site's address, or give --origin"
            return LeftAlone(what, "no origin is known to allow", advice)
        rule = _cors_rule(wanted)
        have = None if ours is None else _shown_cors(ours)

        def apply() -> None:
            others = [each for each in self._cors_rules(there=True) if not _is_ours(each)]
            with self._bucket_errors("set its CORS rules"):
                self._client.put_bucket_cors(
                    Bucket=self._name, CORSConfiguration={"CORSRules": [*others, rule]}
                )

        return compared(what, have, _shown_cors(rule), apply)

    def _cors_rules(self, there: bool) -> list[Any]:
        if not there:
            return []
        try:
            with self._bucket_errors("read its CORS rules"):
                return list(self._client.get_bucket_cors(Bucket=self._name)["CORSRules"])
        except _Missing:
            return []

    # Lifecycle.

    def _lifecycle(self, there: bool) -> Iterator[Item]:
        found: dict[str, Any] = {}
        if there:
            with self._bucket_errors("read its lifecycle rules"):
                rules = lifecycle_rules(self._client, self._name)
            found = {rule.get("ID"): rule for rule in rules}
        for rule in self._rules:
            ours = found.get(rule["ID"])
            have = None if ours is None else _shown_lifecycle(ours)
            what = f"lifecycle rule {rule['ID']} of {self._name}"
            yield compared(what, have, _shown_lifecycle(rule), partial(self._keep, rule))

    def _keep(self, rule: Any) -> None:
        with self._bucket_errors("set a lifecycle rule"):
            put_lifecycle_rule(self._client, self._name, rule)

    @contextmanager
    def _bucket_errors(self, what: str) -> Iterator[None]:
        """Turn boto3's errors into ours, without URLs, which may carry a signature."""
        where = f"R2 bucket {self._name!r}: can't {what}"
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            if code in _MISSING:
                raise _Missing(f"{where}: it answered {code}") from None
            if code in _DENIED:
                raise BucketDenied(
                    f"{where}: the R2 key may not; it wants one of the kind Admin Read & Write"
                ) from None
            raise BucketError(f"{where}: it answered {code}; check the R2_ variables") from None
        except (BotoCoreError, OSError) as error:
            raise BucketError(f"{where}: {type(error).__name__}; check R2_ENDPOINT_URL") from None


class _Missing(BucketError):
    """The bucket or the configuration does not exist."""


def files_bucket(
    settings: Settings, options: Options | None, origins: Sequence[str]
) -> BucketPlanner:
    """The bucket that keeps uploads and outputs, and what all workers share."""
    return BucketPlanner(
        settings.r2_bucket,
        settings.r2_endpoint_url or "",
        (settings.r2_access_key_id or "", settings.r2_secret_access_key or ""),
        _lifecycle(settings, options),
        origins,
    )


def ledger_bucket(settings: Settings, options: Options, key: tuple[str, str]) -> BucketPlanner:
    """The bucket in which a process finds its lease ledger where it has no other place for it."""
    records = expiry_rule(object_keys.LEASES, ledger.RECORD_EXPIRE_DAYS)
    name, endpoint = bucket_name(options.queue_name_prefix), r2_endpoint(settings.account_id or "")
    return BucketPlanner(name, endpoint, key, [records])


def origins(settings: Settings, given: Sequence[str] = ()) -> list[str]:
    """The origins whose pages may use objects: those given, and the site's own."""
    sites = map(urlsplit, filter(None, (settings.webhook_url, settings.access.url)))
    own = [f"{site.scheme}://{site.netloc}" for site in sites if site.netloc]
    return list(dict.fromkeys([*given, *own]))


def _lifecycle(settings: Settings, options: Options | None) -> Iterator[Any]:
    """The lifecycle rules for objects that their owners may fail to delete."""
    yield {
        "ID": UNFINISHED_ID,
        "Filter": {"Prefix": ""},
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS},
    }
    if options is None:
        return
    if settings.mode == "cloudflare":
        yield expiry_rule(RESULTS_PREFIX, -(-RESULT_EXPIRES_S // 86_400))
    found = options.lease_ledger == AUTO_LEDGER and not options.edge_url
    for url, prefix, days in (
        (options.large_messages, object_keys.LARGE_MESSAGES, claim_check.OBJECT_EXPIRE_DAYS),
        (
            options.large_messages if found else options.lease_ledger,
            object_keys.LEASES,
            ledger.RECORD_EXPIRE_DAYS,
        ),
    ):
        parts = urlsplit(url)
        if parts.scheme == "r2" and parts.netloc == settings.r2_bucket:
            below = parts.path.strip("/")
            yield expiry_rule(f"{below}/{prefix}" if below else prefix, days)


def _cors_rule(allowed: list[str]) -> Any:
    """It allows reading, with ranges, and sending the parts of uploads; all by presigned URLs."""
    return {
        "ID": CORS_ID,
        "AllowedOrigins": allowed,
        "AllowedMethods": ["GET", "HEAD", "PUT"],
        "AllowedHeaders": ["content-md5", "range"],
        "ExposeHeaders": ["accept-ranges", "content-length", "content-range", "etag"],
        "MaxAgeSeconds": CORS_MAX_AGE_S,
    }


def _is_ours(rule: Any) -> bool:
    """By its id; or, should the store not keep ids of CORS rules, by all but its origins."""
    given = rule.get("ID")
    alike = _shown_cors({**rule, "AllowedOrigins": []}) == _shown_cors(_cors_rule([]))
    return bool(given == CORS_ID or (not given and alike))


def _shown_cors(rule: Any) -> dict[str, Any]:
    return {
        "origins": sorted(rule.get("AllowedOrigins", ())),
        "methods": sorted(rule.get("AllowedMethods", ())),
        "request headers": sorted(rule.get("AllowedHeaders", ())),
        "shown headers": sorted(rule.get("ExposeHeaders", ())),
        "max age s": rule.get("MaxAgeSeconds"),
    }


def _shown_lifecycle(rule: Any) -> dict[str, Any]:
    prefix = (rule.get("Filter") or {}).get("Prefix") or rule.get("Prefix") or ""
    abort = (rule.get("AbortIncompleteMultipartUpload") or {}).get("DaysAfterInitiation")
    days = (rule.get("Expiration") or {}).get("Days")
    return {
        **({"prefix": prefix} if prefix else {}),
        **({"expire after days": days} if days else {}),
        **({"abort unfinished after days": abort} if abort else {}),
        "status": rule.get("Status"),
    }
