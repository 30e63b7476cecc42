"""Checks of the transport's options: that each has its type, and that a URL is a store's."""

from __future__ import annotations

from urllib.parse import urlsplit

from cutmv.transports.cloudflare.errors import ConfigurationError


def check_store_url(option: str, url: str) -> None:
    """Raise `ConfigurationError`, naming the option, unless `url` is an object store's."""
    parts = urlsplit(url)
    fits = {
        "r2": parts.hostname and parts.netloc == parts.hostname,
        "file": not parts.netloc and parts.path.startswith("/"),
    }.get(parts.scheme)
    if not fits or parts.query or parts.fragment:
        # The error does not show a URL that has credentials in it.
        shown = repr(url) if "@" not in url else "one with credentials in it"
        raise ConfigurationError(
            f"cloudflare transport: option {option} must be r2://BUCKET/PREFIX or "
            f"file:///DIRECTORY, not {shown}"
        )


def check_ledger_url(url: str) -> None:
    """Raise `ConfigurationError`, without the URL's password, unless `url` names a ledger."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("redis", "rediss") and parts.hostname:
            return
        check_store_url("lease_ledger", url)
    except ValueError:
        raise ConfigurationError(
            "cloudflare transport: option lease_ledger must be auto, none, file:///DIRECTORY, "
            "redis://HOST:PORT/DB or r2://BUCKET/PREFIX"
        ) from None


def check_type(name: str, value: object, wanted: str) -> None:
    """Check `value` against the annotation `wanted`; a bool is no number, an int is a float."""
    kind = wanted.removesuffix(" | None")
    fits = {
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "tuple[int, ...]": isinstance(value, tuple) and all(type(each) is int for each in value),
        "tuple[str, ...]": isinstance(value, tuple) and all(type(each) is str for each in value),
        "tuple[tuple[str, str], ...]": isinstance(value, tuple)
        and all(
            isinstance(pair, tuple) and all(type(each) is str and each for each in pair)
            for pair in value
        ),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
    }[kind] or (value is None and kind != wanted)
    if not fits:
        noun = {"str": "text", "bool": "true or false", "int": "a whole number"}
        noun |= {"tuple[int, ...]": "a list of whole numbers", "tuple[str, ...]": "a list of texts"}
        noun |= {"tuple[tuple[str, str], ...]": "a task's name for each queue's"}
        raise ConfigurationError(
            f"cloudflare transport: option {name} must be {noun.get(kind, 'a number')}, "
            f"not {value!r}"
        )
