"""API keys: by which programs act for a person."""

import uuid
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from cutmv.database import DATABASE_AWAY, now, readable, unreadable
from cutmv.people.accounts import to_person
from cutmv.people.model import ApiKey, Person, Refused, UnknownKey
from cutmv.people.standing import require_account
from cutmv.people.tables import api_keys, people
from cutmv.people.tokens import new_token, token_hash

#: What every key starts with, so that people and scanners of secrets know one.
PREFIX = "cutmv_"
#: Days for which a key is good: the usual, and the most.
KEY_DAYS, MAX_KEY_DAYS = 90, 366
#: Keys of one person, and characters of a key's name.
MAX_KEYS, MAX_NAME_CHARS = 50, 80
#: Seconds between notes of when a key was last used: not each request writes.
NOTED_EVERY_S = 60.0

#: The person of a key that is good. Each request asks for it, so it is put together once.
_WHOSE = (
    sa.select(people, (now() - api_keys.c.last_used_at).label("idle_s"))
    .join(api_keys)
    .where(
        api_keys.c.hash == sa.bindparam("digest"),
        sa.func.coalesce(api_keys.c.expires_at > now(), sa.true()),
        people.c.disabled_at.is_(None),
    )
)


class ApiKeys:
    """The API keys of a database. Every method raises SQLAlchemyError when that fails."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, person_id: str, name: str, days: int = KEY_DAYS) -> tuple[ApiKey, str]:
        """Make a key; returns it with its secret, which is told this once.

        Raises Refused, AccountGone.
        """
        name = name.strip()
        if not name or not name.isprintable() or len(name) > MAX_NAME_CHARS:
            raise Refused(f"A key's name has 1 to {MAX_NAME_CHARS} printable characters.")
        if not 1 <= days <= MAX_KEY_DAYS:
            raise Refused(f"A key is good for 1 to {MAX_KEY_DAYS} days.")
        key_id, secret = uuid.uuid4().hex, PREFIX + new_token()
        with self._engine.begin() as db:
            require_account(db, person_id)
            own = api_keys.c.person_id == person_id
            db.execute(api_keys.delete().where(own, api_keys.c.expires_at <= now()))
            count = db.scalar(sa.select(sa.func.count()).select_from(api_keys).where(own)) or 0
            if count >= MAX_KEYS:
                raise Refused(f"One person has {MAX_KEYS} keys at most: delete one first.")
            db.execute(
                api_keys.insert().values(
                    id=key_id,
                    person_id=person_id,
                    name=name,
                    hash=token_hash("key", secret),
                    created_at=now(),
                    expires_at=now() + days * 86_400.0,
                )
            )
        return next(key for key in self.of(person_id) if key.id == key_id), secret

    def of(self, person_id: str) -> list[ApiKey]:
        """The keys of a person, the newest first, those that ended among them."""
        own = api_keys.c.person_id == person_id
        query = sa.select(api_keys).where(own).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
        with self._reading() as db:
            return [_key(row) for row in db.execute(query)]

    def person(self, secret: str) -> Person | None:
        """Whose key this is, while it and the account are good."""
        digest = token_hash("key", secret)
        with self._reading() as db:
            found = db.execute(_WHOSE, {"digest": digest}).one_or_none()
        if found is None:
            return None
        if found.idle_s is None or found.idle_s > NOTED_EVERY_S:
            with suppress(*DATABASE_AWAY), self._engine.begin() as db:  # it is noted later
                own = api_keys.c.hash == digest
                db.execute(api_keys.update().where(own).values(last_used_at=now()))
        return to_person(found)

    def delete(self, person_id: str, key_id: str) -> None:
        """End a key of a person at once. Raises UnknownKey."""
        own = sa.and_(api_keys.c.person_id == person_id, api_keys.c.id == key_id)
        with self._engine.begin() as db:
            if not db.execute(api_keys.delete().where(own)).rowcount:
                raise UnknownKey(f"There is no key {key_id}.")

    def _reading(self) -> sa.Connection:
        return self._engine.connect().execution_options(reads_only=True)


def _key(row: sa.Row[Any]) -> ApiKey:
    """A row of the keys; what of it can't be read is left out."""
    told = readable(row, unreadable(api_keys, row))
    return ApiKey(
        id=str(row.id),
        person_id=row.person_id,
        name=told["name"] or "?",
        created_at=told["created_at"] or 0.0,
        expires_at=told["expires_at"],
        last_used_at=told["last_used_at"],
    )
