"""Secrets that are told once, to those who use them, and kept as hashes.

They are random and long, so a plain hash is enough: nobody can try all (unlike a password).
"""

import hashlib
import secrets
from enum import StrEnum

#: Bytes of chance in a token.
TOKEN_BYTES = 32
#: Characters of the longest token that is looked up.
MAX_TOKEN_CHARS = 200


class TokenKind(StrEnum):
    """What a token is for: a browser's session; to sign in once; to choose a password once; to show
    a code of the second factor, after a password or a link."""

    SESSION = "session"
    SIGN_IN = "sign-in"
    PASSWORD = "password"  # noqa: S105 (a kind, no password)
    CODE = "code"


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(purpose: str, token: str) -> str:
    """What is kept of a token, which is good for one purpose."""
    return hashlib.sha256(f"{purpose}:{token[:MAX_TOKEN_CHARS]}".encode()).hexdigest()
