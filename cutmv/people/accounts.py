"""Accounts: who there is, with which password, what they may."""

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from cutmv.database import now, readable, unreadable
from cutmv.people.checks import (
    MAX_NAME_CHARS,
    checked_email,
    checked_name,
    checked_quotas,
    folded_email,
)
from cutmv.people.model import (
    LastAdministrator,
    LinkGone,
    Person,
    Refused,
    UnknownPerson,
    read_quotas,
)
from cutmv.people.passwords import check_password, hashed, is_outdated, is_right
from cutmv.people.tables import people, sessions
from cutmv.people.tokens import TokenKind, token_hash

#: Seconds after which whoever deletes an account may be dead.
END_AGAIN_S = 60.0


class Accounts:
    """The accounts of a database. Every method raises SQLAlchemyError when that fails."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def all(self) -> list[Person]:
        """Everybody, the oldest account first."""
        return self._where(sa.true())

    def get(self, person_id: str) -> Person:
        """The account of this id. Raises UnknownPerson."""
        found = self._where(people.c.id == person_id)
        if not found:
            raise UnknownPerson(f"There is no account {person_id}.")
        return found[0]

    def find(self, email: str) -> Person | None:
        """The account of this address."""
        return next(iter(self._where(_has_address(email))), None)

    def has_administrator(self) -> bool:
        """Whether somebody can sign in who may make accounts."""
        with self._reading() as db:
            return bool(db.scalar(sa.select(sa.exists().where(_administrates()))))

    def add(
        self,
        email: str | None,
        *,
        name: str = "",
        password: str | None = None,
        is_admin: bool = False,
    ) -> Person:
        """Make an account. Raises Refused."""
        address = None if email is None else checked_email(email)
        if password is not None:
            check_password(password, address)
        row = {
            "id": uuid.uuid4().hex,
            "email": address,
            "name": checked_name(name or (address or "administrator").partition("@")[0]),
            "password_hash": None if password is None else hashed(password),
            "is_admin": is_admin,
        }
        try:
            with self._engine.begin() as db:
                db.execute(people.insert().values(**row, created_at=now()))
                if is_admin and password is not None:
                    _forget_who_waits(db)
        except sa.exc.IntegrityError:
            raise Refused(f"There is an account of {address} already.") from None
        return self.get(str(row["id"]))

    def signed_in(self, email: str, password: str) -> Person | None:
        """The person of this address and password; None for a disabled account, too.

        It takes as long where there is no such account.
        """
        with self._reading() as db:
            row = db.execute(sa.select(people).where(_has_address(email))).one_or_none()
        right = is_right(password, row.password_hash if row else None)
        if row is None or not right or row.disabled_at is not None:
            return None
        if is_outdated(row.password_hash):
            return self._hashed_anew(row, password)
        return to_person(row)

    def set_password(
        self, person_id: str, password: str, *, email: str | None = None, link: str | None = None
    ) -> Person:
        """Choose a password, and the address where there is none yet; ends all sessions and links.

        With `link`, the token of a link to choose it by, only while that is good. Returns the
        person as they are then. Raises Refused, UnknownPerson, LinkGone.
        """
        person = self.get(person_id)
        values: dict[str, Any] = {}
        if person.email is None:
            values = {"email": checked_email(email or "")}
            values["name"] = values["email"].partition("@")[0][:MAX_NAME_CHARS]
        check_password(password, values.get("email", person.email))
        values["password_hash"] = hashed(password)
        try:
            with self._engine.begin() as db:
                if link is not None:
                    _use_link(db, link)
                changed = _changed(db, person_id, **values)
                if changed.is_admin:
                    _forget_who_waits(db)
                return changed
        except sa.exc.IntegrityError:
            raise Refused("There is an account of this address already.") from None

    def disable(self, person_id: str) -> None:
        """End all sessions of a person, who can't sign in nor use a key until `enable`.

        Raises UnknownPerson, LastAdministrator.
        """
        self.change(person_id, disabled=True)

    def enable(self, person_id: str) -> None:
        """Let a person in again who is disabled. Raises UnknownPerson."""
        self.change(person_id, disabled=False)

    def set_quotas(self, person_id: str, quotas: Mapping[str, int]) -> None:
        """Set those quotas of a person that are not the deployment's.

        Raises Refused, UnknownPerson.
        """
        self.change(person_id, quotas=quotas)

    def change(
        self,
        person_id: str,
        *,
        email: str | None = None,
        is_admin: bool | None = None,
        disabled: bool | None = None,
        quotas: Mapping[str, int] | None = None,
    ) -> None:
        """Change what is told of an account, all of it or nothing.

        With another address, who is disabled, and who is an administrator no more has all sessions
        and links ended. Raises Refused, UnknownPerson, LastAdministrator.
        """
        values: dict[str, Any] = {}
        if email is not None:
            values["email"] = checked_email(email)
        if quotas is not None:
            values["quotas"] = checked_quotas(quotas) or None
        if is_admin is not None:
            values["is_admin"] = is_admin
        try:
            with self._engine.begin() as db:
                was = _row(db, person_id)
                if disabled is False and was.ends_at is not None:
                    raise Refused("The account is being deleted.")
                if disabled or (is_admin is False):
                    _keep_an_administrator(db, person_id)
                if disabled is not None:
                    values["disabled_at"] = now() if disabled else None
                # Of who is as before nothing ends.
                ends = (
                    disabled
                    or (disabled is not None and was.disabled_at is not None)
                    or (is_admin is False and was.is_admin)
                    or values.get("email", was.email) != was.email
                )
                if values:
                    _changed(db, person_id, ends_sessions=ends, **values)
                if is_admin and was.password_hash is not None:
                    _forget_who_waits(db)
        except sa.exc.IntegrityError:
            raise Refused("There is an account of this address already.") from None

    def set_retention(self, person_id: str, days: int | None, usual: int) -> None:
        """Have what is a person's kept for so many days; None for as many as may be.

        That is a quota of theirs, or else `usual`. Raises Refused, UnknownPerson.
        """
        _, most = self.get(person_id).kept_days(usual)
        if days is not None and not 1 <= days <= most:
            raise Refused(f"What is yours is kept for 1 to {most} days: choose a number of these.")
        with self._engine.begin() as db:
            _changed(db, person_id, ends_sessions=False, retention_days=days)

    def begin_end(self, person_id: str) -> None:
        """Note that an account is to be deleted, and end all sessions; nobody can enable it again.

        Raises UnknownPerson, LastAdministrator.
        """
        with self._engine.begin() as db:
            _keep_an_administrator(db, person_id)
            _changed(db, person_id, disabled_at=now(), ends_at=now() + END_AGAIN_S)

    def ending(self) -> list[str]:
        """The ids of the accounts whose deletion has begun, and is not done after END_AGAIN_S.

        The caller goes on with it.
        """
        # A row that is damaged in one place ends nobody.
        due = sa.and_(people.c.ends_at <= now(), people.c.disabled_at.is_not(None))
        with self._reading() as db:
            found = list(db.scalars(sa.select(people.c.id).where(due)))
        if not found:
            return []
        later = people.update().where(people.c.id.in_(found), due)
        with self._engine.begin() as db:
            taken = later.values(ends_at=now() + END_AGAIN_S).returning(people.c.id)
            return list(db.scalars(taken))

    def delete(self, person_id: str) -> None:
        """Delete an account with its keys and sessions. The caller has deleted what it had.

        Raises UnknownPerson, LastAdministrator.
        """
        with self._engine.begin() as db:
            _keep_an_administrator(db, person_id)
            if not db.execute(people.delete().where(people.c.id == person_id)).rowcount:
                raise UnknownPerson(f"There is no account {person_id}.")

    def forget_who_waits(self) -> None:
        """Delete the account that waits for its administrator: there is one."""
        with self._engine.begin() as db:
            _forget_who_waits(db)

    def _hashed_anew(self, row: sa.Row[Any], password: str) -> Person | None:
        """Keep a password as they are kept now; None where another was chosen meanwhile."""
        same = sa.and_(people.c.id == row.id, people.c.password_hash == row.password_hash)
        anew = hashed(password)
        with self._engine.begin() as db:
            db.execute(people.update().where(same).values(password_hash=anew))
            found = _row(db, row.id)
            return to_person(found) if found.password_hash == anew else None

    def _where(self, condition: sa.ColumnElement[bool]) -> list[Person]:
        query = sa.select(people).where(condition).order_by(people.c.created_at, people.c.id)
        with self._reading() as db:
            # Nobody can name an account whose id can't be read.
            return [to_person(row) for row in db.execute(query) if isinstance(row.id, str)]

    def _reading(self) -> sa.Connection:
        return self._engine.connect().execution_options(reads_only=True)


def _has_address(email: str) -> sa.ColumnElement[bool]:
    # PostgreSQL takes no NUL; nor is one in any address.
    return people.c.email == folded_email(email).replace("\0", " ")


def to_person(row: sa.Row[Any]) -> Person:
    """A row with all columns of the table of people, as the person; with what of it can be read."""
    told = readable(row, unreadable(people, row))
    may = row.disabled_at is None
    return Person(
        id=row.id,
        email=told["email"],
        name=told["name"] or "?",
        is_admin=row.is_admin,
        has_password=row.password_hash is not None,
        has_second_factor=row.totp_secret is not None,
        disabled_at=None if may else told["disabled_at"] or 0.0,
        created_at=told["created_at"] or 0.0,
        quotas=read_quotas(row.quotas),
        retention_days=told["retention_days"],
        signs_in_by=token_hash("signs in by", f"{row.password_hash} {row.totp_secret}"),
    )


def _administrates() -> sa.ColumnElement[bool]:
    able = sa.and_(people.c.disabled_at.is_(None), people.c.password_hash.is_not(None))
    return sa.and_(people.c.is_admin, able)


def _keep_an_administrator(db: sa.Connection, person_id: str) -> None:
    # Two administrators who delete each other at once wait for one another here.
    able = set(db.scalars(sa.select(people.c.id).where(_administrates()).with_for_update()))
    if able == {person_id}:
        raise LastAdministrator


def _forget_who_waits(db: sa.Connection) -> None:
    """Delete who was to be the administrator by the link that a start printed (`first`)."""
    waits = sa.and_(people.c.email.is_(None), people.c.password_hash.is_(None))
    db.execute(people.delete().where(people.c.is_admin, waits))


def _use_link(db: sa.Connection, link: str) -> None:
    own = sessions.c.id_hash == token_hash(TokenKind.PASSWORD, link)
    if not db.execute(sessions.delete().where(own, sessions.c.expires_at > now())).rowcount:
        raise LinkGone


def _row(db: sa.Connection, person_id: str) -> sa.Row[Any]:
    row = db.execute(sa.select(people).where(people.c.id == person_id)).one_or_none()
    if row is None:
        raise UnknownPerson(f"There is no account {person_id}.")
    return row


def _changed(
    db: sa.Connection, person_id: str, *, ends_sessions: bool = True, **values: Any
) -> Person:
    if not db.execute(people.update().where(people.c.id == person_id).values(**values)).rowcount:
        raise UnknownPerson(f"There is no account {person_id}.")
    if ends_sessions:
        db.execute(sessions.delete().where(sessions.c.person_id == person_id))
    return to_person(_row(db, person_id))
