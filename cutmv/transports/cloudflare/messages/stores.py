"""Opens the object store that a URL names.

``r2://BUCKET/PREFIX`` takes its credentials from ``R2_ACCESS_KEY_ID`` and ``R2_SECRET_ACCESS_KEY``,
and an address other than the account's own from ``R2_ENDPOINT_URL``. ``file:///DIRECTORY``
needs none. Keys are below the URL's prefix. boto3 is imported when an R2 store is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cutmv.transports.cloudflare.errors import ConfigurationError, extra_missing
from cutmv.transports.cloudflare.messages.directory_store import DirectoryObjectStore
from cutmv.transports.cloudflare.messages.object_store import ObjectStore
from cutmv.transports.cloudflare.messages.r2 import r2_client
from cutmv.transports.cloudflare.messages.r2_store import R2ObjectStore

#: Seconds to connect, and to wait for the next bytes; attempts at one call. They are few, since a
#: publish waits for the call.
CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 3.0, 5.0, 3

#: The environment's variables with the key of R2.
R2_KEYS = ("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY")

#: Connections kept: one for each reader of a large message.
POOL_SIZE = 16


def opener(
    url: str, account_id: str, environ: Mapping[str, str] | None = None
) -> Callable[[], ObjectStore]:
    """Return a function that opens the store at `url`.

    Raises `ConfigurationError` when boto3 or R2 credentials are missing. A process that never opens
    the store never imports boto3.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return lambda: DirectoryObjectStore(Path(unquote(parts.path)))
    if find_spec("boto3") is None:
        raise extra_missing(url, "r2")
    environ = os.environ if environ is None else environ
    missing = [name for name in R2_KEYS if not environ.get(name)]
    if missing:
        raise ConfigurationError(
            f"cloudflare transport: {' and '.join(missing)} missing: {url} needs "
            f"{'it' if len(missing) == 1 else 'them'} in the environment"
        )
    keys = (environ[R2_KEYS[0]], environ[R2_KEYS[1]])
    return lambda: R2ObjectStore(
        _client(account_id, keys, environ), parts.netloc, parts.path.strip("/")
    )


def bucket_if_there(
    bucket: str,
    account_id: str,
    find_keys: Callable[[], tuple[str, str] | None],
    environ: Mapping[str, str],
) -> ObjectStore | None:
    """Return a bucket as a store, if it is there and the process has a key that opens it.

    The key comes from the environment, else from `find_keys`. Raises boto3's errors where R2 does
    not answer.
    """
    if find_spec("boto3") is None:
        return None
    given = tuple(environ.get(name) or "" for name in R2_KEYS)
    keys = (given[0], given[1]) if all(given) else find_keys()
    if keys is None:
        return None
    from botocore.exceptions import ClientError

    client = _client(account_id, keys, environ)
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (401, 403, 404):
            return None
        raise
    return R2ObjectStore(client, bucket, "")


def r2_endpoint(account_id: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the address of R2: that of the environment, else the account's own."""
    return environ.get("R2_ENDPOINT_URL") or f"https://{account_id}.r2.cloudflarestorage.com"


def _client(account_id: str, keys: tuple[str, str], environ: Mapping[str, str]) -> Any:
    return r2_client(
        r2_endpoint(account_id, environ),
        *keys,
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        pool_size=POOL_SIZE,
        attempts=ATTEMPTS,
    )
