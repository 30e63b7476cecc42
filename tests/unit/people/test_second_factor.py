"""`cutmv.people.second_factor`: an app's codes and recovery codes, on a real database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
import sqlalchemy as sa

from cutmv.database import open_engine
from cutmv.people import Accounts, Person, Refused, SecondFactors, Sessions, app_url, new_app_secret
from cutmv.people.second_factor import RECOVERY_CODES, STEP_S
from cutmv.people.tables import people, recovery_codes

PASSWORD = "correct horse battery"
#: The secret and the times of RFC 6238's appendix B, and its codes' last six digits.
RFC_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
RFC_CODES = {59: "287082", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def factors(engine: sa.Engine) -> SecondFactors:
    return SecondFactors(engine)


@pytest.fixture
def ada(engine: sa.Engine) -> Person:
    return Accounts(engine).add("ada@example.com", password=PASSWORD)


def code(secret: str, steps: int = 0) -> str:
    """What the app shows now, or so many steps of 30 s later."""
    return pyotp.TOTP(secret).generate_otp(int(time.time()) // STEP_S + steps)


def turned_on(factors: SecondFactors, ada: Person) -> tuple[str, list[str]]:
    """The app's secret and the recovery codes; the app's code of two steps ago is used."""
    secret = new_app_secret()
    codes = factors.turn_on(str(ada.id), secret, code(secret))
    with factors._engine.begin() as db:  # the tests need not wait for the app's next code
        db.execute(people.update().values(totp_step=people.c.totp_step - 2))
    return secret, codes


@pytest.mark.parametrize(("at", "right"), RFC_CODES.items())
def test_codes_are_those_of_the_specification(
    engine: sa.Engine, ada: Person, monkeypatch: pytest.MonkeyPatch, at: int, right: str
) -> None:
    monkeypatch.setattr("cutmv.people.second_factor.now", lambda: sa.literal(float(at)))
    factors = SecondFactors(engine)

    assert len(factors.turn_on(str(ada.id), RFC_SECRET, right)) == RECOVERY_CODES


def test_a_code_is_good_once_and_each_later_one_too(factors: SecondFactors, ada: Person) -> None:
    secret, _ = turned_on(factors, ada)
    now = code(secret)

    assert factors.take(str(ada.id), f"{now[:3]} {now[3:]}")
    assert not factors.take(str(ada.id), now)
    assert not factors.take(str(ada.id), code(secret, -1)), "one before one that was used"
    assert factors.take(str(ada.id), code(secret, +1)), "the app's clock may be ahead"


@pytest.mark.parametrize("typed", ["", "000000 ", "12345", "1234567", "٠٠٠٠٠٠", "\0", "x" * 64])
def test_what_is_no_code_is_refused(factors: SecondFactors, ada: Person, typed: str) -> None:
    secret, _ = turned_on(factors, ada)
    near = {code(secret, steps) for steps in (-1, 0, 1, 2)}

    assert typed.strip() in near or not factors.take(str(ada.id), typed)
    assert not factors.take(str(ada.id), code(secret, -9)), "of some minutes ago"


def test_of_many_who_bring_one_code_at_once_one_comes_in(
    factors: SecondFactors, ada: Person
) -> None:
    secret, (recovery, *_) = turned_on(factors, ada)
    now = code(secret)
    with ThreadPoolExecutor(8) as threads:
        for each in (now, recovery):
            taken = list(threads.map(lambda c: factors.take(str(ada.id), c), [each] * 8))
            assert sum(taken) == 1, taken


def test_a_recovery_code_is_good_once_as_it_was_written_down(
    engine: sa.Engine, factors: SecondFactors, ada: Person
) -> None:
    _, codes = turned_on(factors, ada)
    eve = Accounts(engine).add("eve@example.com", password=PASSWORD)
    assert len(set(codes)) == factors.recovery_codes_left(str(ada.id)) == RECOVERY_CODES

    assert not factors.take(str(eve.id), codes[0]), "another's"
    assert factors.take(str(ada.id), codes[0])
    assert not factors.take(str(ada.id), codes[0])
    assert factors.take(str(ada.id), " " + codes[1].lower().replace("-", " ") + "\n")
    assert factors.recovery_codes_left(str(ada.id)) == RECOVERY_CODES - 2


def test_turning_it_on_needs_the_apps_code_and_ends_all_sessions(
    engine: sa.Engine, factors: SecondFactors, ada: Person
) -> None:
    session, secret = Sessions(engine).begin(ada), new_app_secret()
    for wrong, used in ((secret, "000000"), (secret[:-1], code(secret)), ("a" * 32, code(secret))):
        with pytest.raises(Refused):
            factors.turn_on(str(ada.id), wrong, used)
    assert Sessions(engine).person(session) == ada

    factors.turn_on(str(ada.id), secret, code(secret))

    assert Sessions(engine).person(session) is None
    assert Accounts(engine).get(str(ada.id)).has_second_factor
    assert not factors.take(str(ada.id), code(secret)), "the code that turned it on was used"
    another = new_app_secret()
    with pytest.raises(Refused, match="already"):
        factors.turn_on(str(ada.id), another, code(another))


def turn_off(engine: sa.Engine, ada: Person) -> None:
    SecondFactors(engine).turn_off(str(ada.id))


def delete(engine: sa.Engine, ada: Person) -> None:
    Accounts(engine).delete(str(ada.id))


@pytest.mark.parametrize("end", [turn_off, delete])
def test_nothing_is_left_of_one_that_has_ended(
    engine: sa.Engine,
    factors: SecondFactors,
    ada: Person,
    end: Callable[[sa.Engine, Person], None],
) -> None:
    secret, codes = turned_on(factors, ada)

    end(engine, ada)

    assert not factors.take(str(ada.id), code(secret))
    assert not factors.take(str(ada.id), codes[0])
    with engine.connect() as db:
        assert db.execute(sa.select(recovery_codes)).all() == []
        assert db.scalars(sa.select(people.c.totp_secret)).all() in ([], [None])


def test_an_app_is_told_whose_and_which_codes_these_are() -> None:
    url = urlsplit(app_url(RFC_SECRET, "ada@example.com"))

    assert (url.scheme, url.netloc, url.path) == ("otpauth", "totp", "/CUTMV:ada%40example.com")
    assert parse_qs(url.query) == {"secret": [RFC_SECRET], "issuer": ["CUTMV"]}
