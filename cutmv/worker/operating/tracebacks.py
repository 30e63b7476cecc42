"""Tells operators where a step failed, without the secrets that errors may hold."""

import re
import traceback

#: Characters of a traceback that are kept: its end, which has the error.
MAX_CHARS = 12_000

#: What may be a secret: a URL's password, a token, what signs a URL.
_SECRETS = re.compile(
    r"(?<=://)[^/@\s]+(?=@)|(?<=Bearer )[^\s'\"]+"
    r"|(?<=[?&])[^?&=\s]*(?:sign|token|cred|key)[^\s&'\"]*",
    re.IGNORECASE,
)


def traceback_of(error: BaseException) -> str:
    """The traceback of an error, and of those that led to it; the end of it if it is long."""
    text = "".join(traceback.format_exception(error))
    return _SECRETS.sub("***", text)[-MAX_CHARS:]
