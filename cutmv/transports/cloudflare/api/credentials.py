"""The account's id and the API token."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cutmv.transports.cloudflare.errors import ConfigurationError

#: The one call that is not about an account: it tells of the token of a user.
VERIFY_USER = "/user/tokens/verify"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The id of the account that owns the queues, and its API token. The token is never shown.

    `token_file` is the file that the token is from, which may get another one; empty for none.
    """

    account_id: str
    token: str = field(repr=False)
    token_file: str = ""

    @classmethod
    def read(
        cls,
        account_id: str | None,
        token: str | None,
        environ: Mapping[str, str] | None = None,
    ) -> Credentials:
        """Return the broker URL's account and token, or the environment's where the URL has none.

        The environment's token is ``CLOUDFLARE_API_TOKEN``, or in the file that
        ``CLOUDFLARE_API_TOKEN_FILE`` names. Raises `ConfigurationError` naming the variables when
        one is missing, or the file can't be read.
        """
        environ = os.environ if environ is None else environ
        account_id = account_id or environ.get("CLOUDFLARE_ACCOUNT_ID")
        token = token or environ.get("CLOUDFLARE_API_TOKEN")
        token_file = "" if token else environ.get("CLOUDFLARE_API_TOKEN_FILE", "")
        if token_file:
            token = _read(token_file)
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
        if not _is_token(token):
            where = token_file or "CLOUDFLARE_API_TOKEN or the broker URL"
            raise ConfigurationError(
                f"cloudflare transport: the API token holds characters no token has; check {where}"
            )
        return cls(account_id, token, token_file)

    def newest_token(self) -> str:
        """Return the token that is in the file now, or the first one where there is none."""
        if not self.token_file:
            return self.token
        try:
            found = _read(self.token_file)
        except ConfigurationError:  # it is being replaced
            return self.token
        return found if _is_token(found) else self.token


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise ConfigurationError(
            f"cloudflare transport: CLOUDFLARE_API_TOKEN_FILE names {path}, which can't be read: "
            f"{why}"
        ) from None


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
