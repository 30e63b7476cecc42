"""The account's id and the API token."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from cutmv.transports.cloudflare.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Credentials:
    """The id of the account that owns the queues, and its API token. The token is never shown."""

    account_id: str
    token: str = field(repr=False)

    @classmethod
    def read(
        cls,
        account_id: str | None,
        token: str | None,
        environ: Mapping[str, str] | None = None,
    ) -> Credentials:
        """Return the broker URL's account and token, or the environment's where the URL has none.

        Raises `ConfigurationError` naming the variables when one is missing.
        """
        environ = os.environ if environ is None else environ
        account_id = account_id or environ.get("CLOUDFLARE_ACCOUNT_ID")
        token = token or environ.get("CLOUDFLARE_API_TOKEN")
        missing = [
            variable
            for variable, value in (
                ("CLOUDFLARE_API_TOKEN", token),
                ("CLOUDFLARE_ACCOUNT_ID", account_id),
            )
            if not value
        ]
        if not account_id or not token:
            raise ConfigurationError(
                f"cloudflare transport: {' and '.join(missing)} missing: set "
                f"{'it' if len(missing) == 1 else 'them'} in the environment, or use the broker "
                f"URL cloudflare://:API_TOKEN@ACCOUNT_ID"
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigurationError(
                "cloudflare transport: the API token holds characters no token has; "
                "check CLOUDFLARE_API_TOKEN or the broker URL"
            )
        return cls(account_id, token)
