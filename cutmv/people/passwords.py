"""Passwords: which may be chosen, and whether one is right.

Rules of NIST SP 800-63B 5.1.1.2: a length, and none that attackers try first; no rules of kinds of
characters, and no expiry. What attackers try, zxcvbn knows: the 30,000 passwords that leaked most
often, words, names, dates, keyboards, and what people write in place of letters. Argon2id with the
least memory that OWASP recommends (Password Storage Cheat Sheet), since several people may sign in
at once.
"""

import re
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from cutmv.people.model import Refused

#: Characters of the shortest and the longest password.
MIN_PASSWORD_CHARS, MAX_PASSWORD_CHARS = 8, 256
#: Hashes made at once: each takes 19 MiB and a processor.
MAX_AT_ONCE = 4

#: Guesses that a password must outlast, as zxcvbn counts them (its scores 0 and 1 do not), and
#: those of what is left of it without the year and the sign at its end, which people add.
MIN_GUESSES, MIN_STEM_GUESSES = 10**6, 10**4
#: Characters by which a password is judged: zxcvbn needs seconds for some that are longer.
JUDGED_CHARS = 32
#: What is used most where people do not write English, and here.
_COMMON = ["cutmv", "contraseña", "qwertzuiop", "пароль", "йцукен"]
#: What people put at the end.
_TAIL = re.compile(r"[0-9!.?*#$ ]{1,6}$")

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_free = threading.BoundedSemaphore(MAX_AT_ONCE)
#: The hash of no password: an unknown account takes as long to refuse as a known one.
_nobodys = _hasher.hash("nobody's")


def check_password(password: str, email: str | None = None) -> None:
    """Raise Refused, with one line that says why, unless the password may be chosen."""
    text = _normal(password)
    if len(text) < MIN_PASSWORD_CHARS:
        raise Refused(f"A password needs {MIN_PASSWORD_CHARS} characters or more.")
    if len(text) > MAX_PASSWORD_CHARS:
        raise Refused(f"A password has {MAX_PASSWORD_CHARS} characters at most.")
    known = [*_COMMON, *re.split(r"[@.]", email), email] if email else _COMMON
    stem = _TAIL.sub("", text)
    too_few = _guesses(text, known) < MIN_GUESSES
    if too_few or (stem and _guesses(stem, known) < MIN_STEM_GUESSES):
        raise Refused("Others would guess this password: choose another one.")


def hashed(password: str) -> str:
    """The hash to keep of a password."""
    with _free:
        return _hasher.hash(_normal(password))


def is_right(password: str, kept: str | None) -> bool:
    """Whether `kept` is the password's hash. It takes as long where there is none."""
    if len(password) > MAX_PASSWORD_CHARS:
        return False
    with _free:
        try:
            _hasher.verify(kept or _nobodys, _normal(password))
        except (VerificationError, InvalidHashError):
            return False
    return kept is not None


def is_outdated(kept: str) -> bool:
    """Whether a hash was made in another way than hashes are made now."""
    return _hasher.check_needs_rehash(kept)


def _guesses(text: str, known: list[str]) -> float:
    """How many attempts somebody needs at `text` who tries what is `known` first."""
    with _free:
        return float(zxcvbn(text[:JUDGED_CHARS], user_inputs=known)["guesses"])


def _normal(password: str) -> str:
    # Keyboards write one character in different ways.
    return unicodedata.normalize("NFKC", password)
