"""`cutmv.people`: accounts, passwords, keys and sessions, on a real database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher, extract_parameters

from cutmv.config import Limits, Settings
from cutmv.database import now, open_engine
from cutmv.people import (
    QUOTAS,
    AccountGone,
    Accounts,
    ApiKeys,
    LastAdministrator,
    Person,
    Refused,
    Sessions,
    TokenKind,
    UnknownKey,
    UnknownPerson,
    check_password,
)
from cutmv.people.passwords import MAX_PASSWORD_CHARS, hashed
from cutmv.people.sessions import IDLE_S
from cutmv.people.tables import api_keys, people, sessions

PASSWORD = "correct horse battery"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def accounts(engine: sa.Engine) -> Accounts:
    return Accounts(engine)


@pytest.fixture
def ada(accounts: Accounts) -> Person:
    return accounts.add("Ada@Example.com", password=PASSWORD)


def stored(engine: sa.Engine) -> str:
    """All that the database keeps, as text."""
    with engine.connect() as db:
        return "".join(str(db.execute(sa.select(t)).all()) for t in (people, api_keys, sessions))


def update(engine: sa.Engine, table: sa.Table, **values: object) -> None:
    with engine.begin() as db:
        db.execute(table.update().values(**values))


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "x" * 257,
        "12345678",
        "aaaaaaaaaa",
        "QWERTY123",
        "1qaz2wsx",
        "abcabcabc",
        "ada@example.com",
        "Example.2026",
        # Leaked more often than others, as they are, with a year, and in other letters.
        "trustno1",
        "jennifer1987",
        "Password2026!",
        "p@$$w0rd",
        "contraseña",
        "йцукен123",
    ],
)
def test_a_password_that_others_would_guess_is_refused(password: str) -> None:
    with pytest.raises(Refused):
        check_password(password, "ada@example.com")


@pytest.mark.parametrize(
    "password",
    [
        PASSWORD,
        "pässwörter sind lang",
        "🎬🎞🎵🎸🥁🎹🎺🎻",
        "83920174650183",
        "x4K!9vbT",
        "qzv81947365",
    ],
)
def test_any_other_password_may_be_chosen(password: str) -> None:
    check_password(password, "ada@example.com")


def test_a_person_signs_in_by_address_and_password(accounts: Accounts, ada: Person) -> None:
    assert accounts.signed_in(" ada@example.COM", PASSWORD) == ada
    assert accounts.signed_in("ada@example.com", PASSWORD + "!") is None
    assert accounts.signed_in("eve@example.com", PASSWORD) is None
    assert accounts.signed_in("ada@example.com\0", "\0") is None


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that are compared with a hash, which takes long."""
    passwords: list[str] = []
    really = PasswordHasher.verify

    def verify(hasher: PasswordHasher, kept: str | bytes, password: str | bytes) -> bool:
        passwords.append(str(password))
        return bool(really(hasher, kept, password))

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    return passwords


@pytest.mark.parametrize("email", ["ada@example.com", "invited@example.com", "eve@example.com"])
def test_an_address_without_a_password_or_an_account_takes_as_long(
    accounts: Accounts, ada: Person, looked_at: list[str], email: str
) -> None:
    accounts.add("invited@example.com")

    assert accounts.signed_in(email, "a wrong one") is None

    assert looked_at == ["a wrong one"]


def test_what_is_longer_than_a_password_may_be_is_never_hashed(
    engine: sa.Engine, accounts: Accounts, ada: Person, looked_at: list[str]
) -> None:
    longest = "x" * MAX_PASSWORD_CHARS
    for text in (longest, longest + "x"):
        update(engine, people, password_hash=hashed(text))
        assert (accounts.signed_in("ada@example.com", text) == ada) == (text == longest)

    assert looked_at == [longest]


def test_a_password_is_kept_as_argon2id_of_at_least_what_owasp_recommends(
    engine: sa.Engine, ada: Person
) -> None:
    (kept,) = re.findall(r"\$argon2id\$[^']+", stored(engine))

    parameters = extract_parameters(kept)

    assert parameters.memory_cost >= 19 * 1024
    assert parameters.time_cost >= 2
    assert parameters.parallelism >= 1
    assert (parameters.salt_len, parameters.hash_len) >= (16, 32)


def test_one_password_may_be_typed_on_any_keyboard(accounts: Accounts) -> None:
    accounts.add("bob@example.com", password="caf\u00e9 au lait")

    assert accounts.signed_in("bob@example.com", "cafe\u0301 au lait") is not None


def test_nothing_that_lets_somebody_in_is_kept(engine: sa.Engine, ada: Person) -> None:
    _, secret = ApiKeys(engine).add(str(ada.id), "laptop")
    tokens = [Sessions(engine).begin(ada, kind) for kind in TokenKind]

    kept = stored(engine)

    assert "$argon2id$" in kept
    assert not [text for text in (PASSWORD, secret, *tokens) if text in kept]


@pytest.mark.parametrize("end", [Accounts.disable, Accounts.delete])
def test_nothing_is_added_to_an_account_that_has_ended_meanwhile(
    engine: sa.Engine, accounts: Accounts, ada: Person, end: Callable[[Accounts, str], None]
) -> None:
    end(accounts, str(ada.id))

    with pytest.raises(AccountGone):
        Sessions(engine).begin(ada)
    with pytest.raises(AccountGone):
        ApiKeys(engine).add(str(ada.id), "laptop")
    accounts.add("bob@example.com")
    assert "laptop" not in stored(engine)


def test_a_hash_of_another_cost_is_made_anew(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    update(engine, people, password_hash=weak)

    assert accounts.signed_in("ada@example.com", PASSWORD) == ada

    assert weak not in stored(engine)
    assert accounts.signed_in("ada@example.com", PASSWORD) == ada


def test_one_address_has_one_account(accounts: Accounts, ada: Person) -> None:
    with pytest.raises(Refused, match="already"):
        accounts.add("ADA@example.com ")


@pytest.mark.parametrize(
    "email", ["", "ada", "a@b@c", "a b@c", "a@b\nBcc: x@y", "<a@b>", "a@" + "b" * 250]
)
def test_what_is_no_address_is_refused(accounts: Accounts, email: str) -> None:
    with pytest.raises(Refused):
        accounts.add(email)


def test_a_key_opens_for_its_owner_until_it_ends(engine: sa.Engine, ada: Person) -> None:
    keys = ApiKeys(engine)
    key, secret = keys.add(str(ada.id), "laptop")
    assert keys.person(secret) == ada
    assert keys.person(secret[:-1]) is None

    update(engine, api_keys, expires_at=now() - 1)

    assert keys.person(secret) is None
    assert keys.of(str(ada.id))[0].id == key.id


def test_a_key_is_deleted_by_its_owner_alone(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    keys, eve = ApiKeys(engine), accounts.add("eve@example.com", password=PASSWORD)
    key, secret = keys.add(str(ada.id), "laptop")

    with pytest.raises(UnknownKey):
        keys.delete(str(eve.id), key.id)
    assert keys.person(secret) == ada
    keys.delete(str(ada.id), key.id)
    assert keys.person(secret) is None


@pytest.mark.parametrize(
    ("name", "days"), [("", 1), ("a\nb", 1), ("x" * 81, 1), ("a", 0), ("a", 367)]
)
def test_a_key_has_a_name_and_an_end(engine: sa.Engine, ada: Person, name: str, days: int) -> None:
    with pytest.raises(Refused):
        ApiKeys(engine).add(str(ada.id), name, days)


def test_a_session_ends_by_itself(engine: sa.Engine, ada: Person) -> None:
    kept = Sessions(engine)
    token = kept.begin(ada)
    assert kept.person(token) == ada

    update(engine, sessions, expires_at=now() - 1)
    assert kept.person(token) is None

    update(engine, sessions, expires_at=now() + 1000, last_seen_at=now() - IDLE_S - 1)
    assert kept.person(token) is None


def test_a_session_that_is_used_is_not_idle(engine: sa.Engine, ada: Person) -> None:
    kept = Sessions(engine)
    token = kept.begin(ada)
    update(engine, sessions, last_seen_at=now() - IDLE_S + 60)
    kept.person(token)

    with engine.connect() as db:
        assert db.scalar(sa.select(now() - sessions.c.last_seen_at)) < 30


def test_a_link_is_good_once_and_is_no_session(engine: sa.Engine, ada: Person) -> None:
    kept = Sessions(engine)
    link = kept.begin(ada, TokenKind.SIGN_IN)

    assert kept.person(link) is None
    assert kept.take(link, TokenKind.PASSWORD) is None
    assert kept.take(link, TokenKind.SIGN_IN) == ada
    assert kept.take(link, TokenKind.SIGN_IN) is None


def test_a_new_password_ends_sessions_and_links(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    kept = Sessions(engine)
    tokens = [kept.begin(ada, kind) for kind in TokenKind]

    accounts.set_password(str(ada.id), "another good one")

    assert [kept.person(token, kind) for token, kind in zip(tokens, TokenKind, strict=True)] == [
        None
    ] * len(TokenKind)
    assert accounts.signed_in("ada@example.com", "another good one") is not None


def test_nothing_opens_for_a_disabled_person(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    token, (_, secret) = Sessions(engine).begin(ada), ApiKeys(engine).add(str(ada.id), "a")

    accounts.disable(str(ada.id))

    assert Sessions(engine).person(token) is None
    assert ApiKeys(engine).person(secret) is None
    assert accounts.signed_in("ada@example.com", PASSWORD) is None
    accounts.enable(str(ada.id))
    assert Sessions(engine).person(token) is None
    assert ApiKeys(engine).person(secret) == ada


def test_an_account_ends_with_its_keys_and_sessions(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    Sessions(engine).begin(ada)
    ApiKeys(engine).add(str(ada.id), "a")

    accounts.delete(str(ada.id))

    assert stored(engine) == "[][][]"
    with pytest.raises(UnknownPerson):
        accounts.get(str(ada.id))


def test_the_last_administrator_stays(accounts: Accounts, ada: Person) -> None:
    boss = accounts.add("boss@example.com", password=PASSWORD, is_admin=True)
    invited = accounts.add("next@example.com", is_admin=True)

    for end in (accounts.disable, accounts.delete):
        with pytest.raises(LastAdministrator):
            end(str(boss.id))
    accounts.set_password(str(invited.id), PASSWORD)
    accounts.delete(str(boss.id))
    assert accounts.has_administrator()


def test_who_is_made_an_administrator_is_one_until_made_none(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    waits = accounts.add(None, is_admin=True)  # by the link of the first start
    accounts.set_password(str(ada.id), PASSWORD)
    token = Sessions(engine).begin(accounts.get(str(ada.id)))

    accounts.change(str(ada.id), is_admin=True)

    person = Sessions(engine).person(token)
    assert person is not None and person.is_admin and person.sees is None
    with pytest.raises(UnknownPerson):
        accounts.get(str(waits.id))
    with pytest.raises(LastAdministrator):
        accounts.change(str(ada.id), is_admin=False, quotas={"jobs": 9})
    assert accounts.get(str(ada.id)).quotas == {}, "all of it or nothing"
    accounts.add("boss@example.com", password=PASSWORD, is_admin=True)
    accounts.change(str(ada.id), is_admin=False)
    assert Sessions(engine).person(token) is None
    assert accounts.get(str(ada.id)).sees == ada.id


def test_an_account_gets_another_address_and_its_links_end(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    accounts.add("bob@example.com")
    link = Sessions(engine).begin(ada, TokenKind.SIGN_IN)

    for taken, why in (("bob@example.com", "already"), ("ada", "no e-mail address")):
        with pytest.raises(Refused, match=why):
            accounts.change(str(ada.id), email=taken)
    accounts.change(str(ada.id), email=f" {str(ada.email).upper()} ")
    assert Sessions(engine).person(link, TokenKind.SIGN_IN) == ada, "it is the same"
    accounts.change(str(ada.id), email="Ada@Example.org")

    assert accounts.find("ada@example.org") == accounts.get(str(ada.id))
    assert Sessions(engine).person(link, TokenKind.SIGN_IN) is None


def test_quotas_are_whole_numbers_of_known_things(accounts: Accounts, ada: Person) -> None:
    accounts.set_quotas(str(ada.id), {"uploads": 1})
    assert accounts.get(str(ada.id)).quotas == {"uploads": 1}
    too_many = {"waiting_steps": 10**20}
    for wrong in (
        {"cars": 1},
        {"uploads": -1},
        {"uploads": True},
        {"jobs": 0},
        {"requests": 0},
        too_many,
    ):
        with pytest.raises(Refused):
            accounts.set_quotas(str(ada.id), wrong)


def test_each_quota_is_a_limit_of_the_deployment() -> None:
    limits = {field.name for field in fields(Limits)}
    assert set(QUOTAS) - limits == {"retention_days"}
    assert "retention_days" in {field.name for field in fields(Settings)}
