"""What a person and an API key are. Pure. Times are seconds since 1970 by the database's clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: The quotas that an administrator may set for one person; the others are the deployment's.
QUOTAS = (
    "uploads",
    "downloads",
    "sockets",
    "requests",
    "jobs",
    "waiting_steps",
    "stored_bytes",
    "rows",
    "retention_days",
)
#: The least of those that can't be 0: what was accepted would wait for ever, or be gone at once, or
#: nothing could be asked.
LEAST_QUOTAS = {"jobs": 1, "requests": 1, "retention_days": 1}
#: The largest quota: databases have no larger numbers.
MAX_QUOTA = 10**15

#: Digits of a number that people type.
MAX_DIGITS = 18


class UnknownPerson(Exception):
    """There is no such account; one line for people."""


class UnknownKey(Exception):
    """The person has no such API key; one line for people."""


class Refused(Exception):
    """What was asked for can't be: a bad address, name, password or quota; one line for people."""


class AccountGone(Refused):
    """The account was disabled or deleted, maybe while the person was about to add something."""

    def __init__(self) -> None:
        super().__init__("The account is disabled or deleted.")


class SignsInOtherwise(AccountGone):
    """What a person signs in by was changed while they were about to."""

    def __init__(self) -> None:
        Refused.__init__(self, "How this account signs in was changed just now: sign in again.")


class LinkGone(Exception):
    """A link is good no more; one line for people."""

    def __init__(self) -> None:
        super().__init__("This link is good no more: ask for another one.")


class LastAdministrator(Refused):
    """Nobody could administrate the deployment any more."""

    def __init__(self) -> None:
        super().__init__("This is the last administrator: make another one first.")


def read_quotas(told: object) -> dict[str, int]:
    """The quotas that a row tells; what can't be read of it is the deployment's."""
    given: dict[str, int] = {}
    for name, most in told.items() if isinstance(told, dict) else ():
        is_number = isinstance(most, int) and not isinstance(most, bool)
        if name in QUOTAS and is_number and LEAST_QUOTAS.get(name, 0) <= most <= MAX_QUOTA:
            given[name] = most
    return given


def whole_number(text: str) -> int | None:
    """The number that somebody typed, of 18 digits at most; None where it is none."""
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else None


@dataclass(frozen=True)
class Person:
    """Somebody who uses the deployment.

    `id` is None for the one person of a server where nobody signs in, who owns what has no owner.
    """

    id: str | None
    email: str | None
    name: str
    is_admin: bool = False
    has_password: bool = False
    has_second_factor: bool = False
    disabled_at: float | None = None
    created_at: float = 0.0
    #: Those of the person's quotas that are not the deployment's, by their names in QUOTAS.
    quotas: Mapping[str, int] = field(default_factory=dict)
    #: For how many days the person wants things kept; None for as many as may be.
    retention_days: int | None = None
    #: Changes with what the person signs in by: what was checked before is good no more.
    signs_in_by: str = field(default="", repr=False, compare=False)

    def kept_days(self, usual: int) -> tuple[int, int]:
        """For how many days what is the person's is kept, and could be; `usual` is everybody's."""
        most = self.quotas.get("retention_days", usual)
        return min(self.retention_days or most, most), most

    @property
    def sees(self) -> str | None:
        """Whose uploads and jobs the person may know of; None for everybody's."""
        return None if self.is_admin else self.id


#: The one person of a server where nobody signs in.
LOCAL = Person(id=None, email=None, name="you", is_admin=True)


@dataclass(frozen=True)
class ApiKey:
    """A key by which a program acts for a person. The key itself is told once, and not kept."""

    id: str
    person_id: str
    name: str
    created_at: float
    expires_at: float | None
    last_used_at: float | None
