"""Checks addresses in the environment."""

from urllib.parse import urlsplit

from cutmv.config.errors import ConfigError


def checked_url(value: str | None, name: str, schemes: tuple[str, ...]) -> str | None:
    """The value of a variable that is a URL of one of some schemes; none where it is not set.

    Raises ConfigError, which names the first scheme.
    """
    if not value:
        return None
    # The error must not repeat the value, which may hold a password.
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{name} is not a URL that starts with {schemes[0]}://HOST: correct it.")
    return value
