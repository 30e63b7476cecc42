"""What is checked of somebody is good no more once it was changed: sign-ins and links at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyotp
import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from cutmv.database import open_engine
from cutmv.people import (
    Accounts,
    LastAdministrator,
    LinkGone,
    Person,
    Refused,
    SecondFactors,
    Sessions,
    SignsInOtherwise,
    TokenKind,
    UnknownPerson,
    new_app_secret,
)
from cutmv.people.tables import people

ADA, PASSWORD, ANOTHER = "ada@example.com", "correct horse battery", "another good one"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'db'}" if sqlite else request.getfixturevalue("postgres_url")
    engine = open_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def accounts(engine: sa.Engine) -> Accounts:
    return Accounts(engine)


@pytest.fixture
def ada(accounts: Accounts) -> Person:
    return accounts.add(ADA, password=PASSWORD)


def test_who_was_about_to_sign_in_by_an_old_password_does_not(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    about_to = accounts.signed_in(ADA, PASSWORD)
    assert about_to is not None

    changed = accounts.set_password(str(ada.id), ANOTHER)

    for kind in TokenKind:
        with pytest.raises(SignsInOtherwise):
            Sessions(engine).begin(about_to, kind)
    assert Sessions(engine).person(Sessions(engine).begin(changed)) == changed


def test_who_was_about_to_sign_in_without_a_code_does_not_once_it_is_asked_for(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    about_to, secret = accounts.signed_in(ADA, PASSWORD), new_app_secret()
    assert about_to is not None

    SecondFactors(engine).turn_on(str(ada.id), secret, pyotp.TOTP(secret).now())

    with pytest.raises(SignsInOtherwise):
        Sessions(engine).begin(about_to)
    Sessions(engine).begin(accounts.get(str(ada.id)), TokenKind.CODE)


def test_a_password_that_was_changed_meanwhile_is_not_kept_anew(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    cheap = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)
    with engine.begin() as db:
        db.execute(people.update().values(password_hash=cheap))
        row = db.execute(sa.select(people)).one()

    accounts.set_password(str(ada.id), ANOTHER)

    assert accounts._hashed_anew(row, PASSWORD) is None
    assert accounts.signed_in(ADA, PASSWORD) is None
    assert accounts.signed_in(ADA, ANOTHER) is not None


def test_of_many_who_choose_a_password_by_one_link_at_once_one_does(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    link = Sessions(engine).begin(ada, TokenKind.PASSWORD)
    wanted = [f"horse {number} battery correct" for number in range(6)]

    def choose(password: str) -> bool:
        try:
            accounts.set_password(str(ada.id), password, link=link)
        except LinkGone:
            return False
        return True

    with ThreadPoolExecutor(len(wanted)) as pool:
        chosen = list(pool.map(choose, wanted))

    assert sum(chosen) == 1
    assert accounts.signed_in(ADA, wanted[chosen.index(True)]) is not None


def test_a_refused_password_uses_no_link(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    link = Sessions(engine).begin(ada, TokenKind.PASSWORD)
    with pytest.raises(Refused, match="guess"):
        accounts.set_password(str(ada.id), "password1", link=link)

    accounts.set_password(str(ada.id), ANOTHER, link=link)


def test_the_link_of_the_first_administrator_is_good_until_there_is_one(
    engine: sa.Engine, accounts: Accounts
) -> None:
    for come in (
        lambda: accounts.add("boss@example.com", password=PASSWORD, is_admin=True),
        lambda: accounts.set_password(
            str(accounts.add("invited@example.com", is_admin=True).id), PASSWORD
        ),
    ):
        waits = accounts.add(None, name="administrator", is_admin=True)
        link = Sessions(engine).begin(waits, TokenKind.PASSWORD)

        come()

        assert Sessions(engine).person(link, TokenKind.PASSWORD) is None
        with pytest.raises(UnknownPerson):
            accounts.set_password(str(waits.id), PASSWORD, email="me@example.com", link=link)
    waits = accounts.add(None, name="administrator", is_admin=True)  # of an earlier version
    accounts.forget_who_waits()
    assert waits.id not in {each.id for each in accounts.all()}


def test_who_has_no_address_gives_one_with_the_password(accounts: Accounts) -> None:
    waits = accounts.add(None, name="administrator", is_admin=True)
    for wrong in (None, "", "nobody"):
        with pytest.raises(Refused, match="e-mail"):
            accounts.set_password(str(waits.id), PASSWORD, email=wrong)

    assert accounts.set_password(str(waits.id), PASSWORD, email="Me@example.com").name == "me"
    assert accounts.has_administrator()


def test_who_is_let_in_already_stays_signed_in(
    engine: sa.Engine, accounts: Accounts, ada: Person
) -> None:
    session = Sessions(engine).begin(ada)

    accounts.enable(str(ada.id))

    assert Sessions(engine).person(session) == ada


def test_what_is_changed_together_is_changed_or_not(accounts: Accounts, ada: Person) -> None:
    boss = str(accounts.add("boss@example.com", password=PASSWORD, is_admin=True).id)

    with pytest.raises(LastAdministrator):
        accounts.change(boss, disabled=True, quotas={"uploads": 3})
    with pytest.raises(Refused):
        accounts.change(str(ada.id), disabled=True, quotas={"cars": 3})

    assert accounts.get(boss).quotas == {}
    assert accounts.get(str(ada.id)).disabled_at is None
    accounts.change(str(ada.id), disabled=True, quotas={"uploads": 3})
    assert accounts.get(str(ada.id)).quotas == {"uploads": 3}
    assert accounts.get(str(ada.id)).disabled_at is not None


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (" Bo\u0301b@Example.COM\n", "b\u00f3b@example.com"),
        ("b\u00f3b@example.com", "b\u00f3b@example.com"),
        ("\uff42ob@example.com", "bob@example.com"),
        ("stra\u00dfe@example.com", "stra\u00dfe@example.com"),
    ],
)
def test_an_address_is_one_however_it_is_typed(accounts: Accounts, typed: str, kept: str) -> None:
    assert accounts.add(typed).email == kept
    found = accounts.find(typed)
    assert found is not None and found.email == kept


@pytest.mark.parametrize("hidden", ["\u200b", "\u202e", "\0", "\u00ad"])
def test_an_address_has_no_letter_that_is_not_seen(accounts: Accounts, hidden: str) -> None:
    with pytest.raises(Refused):
        accounts.add(f"bob{hidden}@example.com")
    assert accounts.find(f"bob{hidden}@example.com") is None
    assert accounts.signed_in(f"bob{hidden}@example.com", PASSWORD) is None
