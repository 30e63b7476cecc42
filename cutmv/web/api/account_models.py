"""Accounts and API keys as the API takes and shows them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, StrictInt

from cutmv.jobs import Used
from cutmv.people import KEY_DAYS, ApiKey, Person


class KeyBody(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid")

    name: str
    days: StrictInt = KEY_DAYS


class KeyOut(BaseModel):
    """A key; `key` is the secret itself, in the answer that makes it alone."""

    id: str
    name: str
    created_at: float
    expires_at: float | None
    last_used_at: float | None
    key: str | None = None


class KeyList(BaseModel):
    """One's own keys."""

    keys: list[KeyOut]


class PersonBody(BaseModel):
    """An account to make."""

    model_config = ConfigDict(extra="forbid")

    email: str
    name: str = ""
    password: str | None = None
    is_admin: StrictBool = False


class PersonChange(BaseModel):
    """What to change of an account; quotas that are not given are the deployment's."""

    model_config = ConfigDict(extra="forbid")

    email: str | None = None
    is_admin: StrictBool | None = None
    disabled: StrictBool | None = None
    quotas: dict[str, StrictInt] | None = None


class PersonOut(BaseModel):
    """An account."""

    id: str
    email: str | None
    name: str
    is_admin: bool
    has_password: bool
    has_second_factor: bool
    disabled: bool
    created_at: float
    quotas: dict[str, int]


class PeopleList(BaseModel):
    """All accounts."""

    people: list[PersonOut]


class UsedOut(BaseModel):
    """How much of something one uses, and may; null for no bound."""

    used: int
    most: int | None


class UsageOut(BaseModel):
    """What one uses: `jobs` that have not ended, of which `most` run at once, and so on."""

    jobs: UsedOut
    waiting_steps: UsedOut
    stored_bytes: UsedOut
    rows: UsedOut


class AccountOut(BaseModel):
    """One's own account; without an id where nobody signs in."""

    id: str | None
    email: str | None
    name: str
    is_admin: bool
    retention_days: int
    most_retention_days: int
    usage: UsageOut


class AccountChange(BaseModel):
    """What to change of one's own account."""

    model_config = ConfigDict(extra="forbid")

    retention_days: StrictInt | None


def account_json(person: Person, used: Mapping[str, Used], usual_days: int) -> dict[str, Any]:
    """One's own account as JSON has it."""
    days, most_days = person.kept_days(usual_days)
    return {
        "id": person.id,
        "email": person.email,
        "name": person.name,
        "is_admin": person.is_admin,
        "retention_days": days,
        "most_retention_days": most_days,
        "usage": {name: asdict(each) for name, each in used.items()},
    }


def key_json(key: ApiKey) -> dict[str, Any]:
    """A key as JSON has it."""
    return {
        "id": key.id,
        "name": key.name,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }


def person_json(person: Person) -> dict[str, Any]:
    """An account as JSON has it."""
    return {
        "id": person.id,
        "email": person.email,
        "name": person.name,
        "is_admin": person.is_admin,
        "has_password": person.has_password,
        "has_second_factor": person.has_second_factor,
        "disabled": person.disabled_at is not None,
        "created_at": person.created_at,
        "quotas": dict(person.quotas),
    }
