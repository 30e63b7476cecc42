"""Sessions, and links that let somebody in once: both are tokens that end.

A token is kept as a hash that says what it is for, so that no link is a session.
"""

from contextlib import suppress

import sqlalchemy as sa

from cutmv.database import DATABASE_AWAY, now
from cutmv.people.accounts import to_person
from cutmv.people.model import Person
from cutmv.people.standing import require_unchanged
from cutmv.people.tables import people, sessions
from cutmv.people.tokens import TokenKind, new_token, token_hash

#: Seconds after which a session ends, and seconds without a request after which it ends before.
SESSION_S, IDLE_S = 14 * 86_400.0, 3 * 86_400.0
#: Seconds between notes of when a session was last used: not each request writes.
NOTED_EVERY_S = 300.0


#: Seconds for which a token is good.
LASTS_S = {
    TokenKind.SESSION: SESSION_S,
    TokenKind.SIGN_IN: 900.0,
    TokenKind.PASSWORD: 3 * 86_400.0,
    TokenKind.CODE: 600.0,
}

#: The person of a token that is good. Each request asks for it, so it is put together once.
_WHOSE = (
    sa.select(people, (now() - sessions.c.last_seen_at).label("idle_s"))
    .join(sessions)
    .where(
        sessions.c.id_hash == sa.bindparam("digest"),
        sessions.c.expires_at > now(),
        sessions.c.last_seen_at > now() - sa.bindparam("may_idle_s", type_=sa.Double),
        people.c.disabled_at.is_(None),
    )
)


class Sessions:
    """The tokens of a database. Every method raises SQLAlchemyError when that fails."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def begin(self, person: Person, kind: TokenKind = TokenKind.SESSION) -> str:
        """A new token for a person; those that ended are forgotten.

        Raises AccountGone; SignsInOtherwise where what was checked of `person` is good no more.
        """
        token = new_token()
        with self._engine.begin() as db:
            require_unchanged(db, person)
            db.execute(sessions.delete().where(sessions.c.expires_at <= now()))
            db.execute(
                sessions.insert().values(
                    id_hash=token_hash(kind, token),
                    person_id=person.id,
                    created_at=now(),
                    expires_at=now() + LASTS_S[kind],
                    last_seen_at=now(),
                )
            )
        return token

    def person(self, token: str, kind: TokenKind = TokenKind.SESSION) -> Person | None:
        """Whose token this is, while it and the account are good."""
        digest = token_hash(kind, token)
        may_idle_s = IDLE_S if kind is TokenKind.SESSION else LASTS_S[kind]
        with self._reading() as db:
            told = {"digest": digest, "may_idle_s": may_idle_s}
            found = db.execute(_WHOSE, told).one_or_none()
        if found is None:
            return None
        if found.idle_s > NOTED_EVERY_S:
            with suppress(*DATABASE_AWAY), self._engine.begin() as db:  # it is noted later
                own = sessions.c.id_hash == digest
                db.execute(sessions.update().where(own).values(last_seen_at=now()))
        return to_person(found)

    def take(self, token: str, kind: TokenKind) -> Person | None:
        """Whose link this is; it is good no more."""
        person = self.person(token, kind)
        return person if person and self.end(token, kind) else None

    def end(self, token: str, kind: TokenKind = TokenKind.SESSION) -> bool:
        """End a token; tell whether there was one."""
        with self._engine.begin() as db:
            own = sessions.c.id_hash == token_hash(kind, token)
            return bool(db.execute(sessions.delete().where(own)).rowcount)

    def end_all(self, person_id: str) -> None:
        """End all sessions and links of a person."""
        with self._engine.begin() as db:
            db.execute(sessions.delete().where(sessions.c.person_id == person_id))

    def _reading(self) -> sa.Connection:
        return self._engine.connect().execution_options(reads_only=True)
