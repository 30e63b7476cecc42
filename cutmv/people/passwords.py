"""Passwords: which may be chosen, and whether one is right.

Rules of NIST SP 800-63B 5.1.1.2: a length, and none that attackers try first; no rules of kinds of
characters, and no expiry. Argon2id with the least memory that OWASP recommends (Password Storage
Cheat Sheet), since several people may sign in at once.
"""

import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cutmv.people.model import Refused

#: Characters of the shortest and the longest password.
MIN_PASSWORD_CHARS, MAX_PASSWORD_CHARS = 8, 256
#: Hashes made at once: each takes 19 MiB and a processor.
MAX_AT_ONCE = 4

#: What attackers try first, of 8 characters or more, without case, and the digits at their end.
_COMMON_WORDS = """
    password passwort passw0rd p@ssword p@ssw0rd motdepasse contraseña administrator adminadmin
    changeme letmein welcome qwertyuiop qwertzuiop qwerty qwertz asdfghjkl asdfasdf zxcvbnm 1q2w3e4r
    1q2w3e4r5t q1w2e3r4 1qaz2wsx qazwsxedc zaq12wsx abcdefgh abcd abc aa iloveyou sunshine princess
    football baseball basketball superman batman trustno starwars dragon monkey master shadow
    michael jennifer jordan computer internet whatever cutmv cutmvcutmv secret default guest test
    """
_COMMON = frozenset(_COMMON_WORDS.split())

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
    plain = text.casefold()
    own = {email.casefold(), email.casefold().partition("@")[0]} if email else set()
    stem = plain.rstrip("0123456789!.?*#$ ")
    if len(set(plain)) < 4 or stem in _COMMON or plain in _COMMON or not stem or plain in own:
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


def _normal(password: str) -> str:
    # Keyboards write one character in different ways.
    return unicodedata.normalize("NFKC", password)
