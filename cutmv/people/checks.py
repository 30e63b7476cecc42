"""Whether an address, a name and quotas may be an account's, and the form in which they are kept.

Pure.
"""

import re
import unicodedata
from collections.abc import Mapping

from cutmv.people.model import LEAST_QUOTAS, MAX_QUOTA, QUOTAS, Refused

#: An address as people type it; whether it is somebody's, only a mail can tell.
_EMAIL = re.compile(
    r"^[^@\s\x00-\x1f\x7f<>,;:\"()\[\]\\]{1,64}@[^@\s\x00-\x1f\x7f<>,;:\"()\[\]\\]{1,189}$"
)
#: Characters of a name.
MAX_NAME_CHARS = 80


def checked_email(email: str) -> str:
    """An address as it is kept. Raises Refused."""
    address = folded_email(email)
    # No letter that is not seen makes two that look the same.
    if not _EMAIL.match(address) or not address.isprintable():
        raise Refused("This is no e-mail address: use one like me@example.com.")
    return address


def folded_email(email: str) -> str:
    """An address, however it was typed. Its letters stay: `straße@` is no `strasse@`."""
    return unicodedata.normalize("NFKC", email.strip()).lower()


def checked_name(name: str) -> str:
    """A name as it is kept. Raises Refused."""
    if not name.isprintable() or len(name) > MAX_NAME_CHARS:
        raise Refused(f"A name has 1 to {MAX_NAME_CHARS} printable characters.")
    return name.strip()


def checked_quotas(quotas: Mapping[str, int]) -> dict[str, int]:
    """Quotas as they are kept. Raises Refused."""
    for name, most in quotas.items():
        if name not in QUOTAS:
            raise Refused(f"There is no quota {name!r}: use {', '.join(QUOTAS)}.")
        least = LEAST_QUOTAS.get(name, 0)
        if isinstance(most, bool) or not isinstance(most, int) or most < least:
            raise Refused(f"The quota {name} must be a whole number from {least} up.")
        if most > MAX_QUOTA:
            raise Refused(f"The quota {name} must be {MAX_QUOTA} at most.")
    return dict(quotas)
