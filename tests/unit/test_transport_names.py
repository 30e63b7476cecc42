import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cutmv.transports.cloudflare import names
from cutmv.transports.cloudflare.errors import QueueNameError

CLOUDFLARE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

#: Names as people give them, and any text at all.
any_name = st.one_of(
    st.text(alphabet="abcABC019.-_ @é", min_size=1, max_size=20), st.text(min_size=1, max_size=12)
)
short_name = any_name.filter(lambda name: _fits(name))


def _fits(name: str) -> bool:
    try:
        names.encode(name)
    except QueueNameError:
        return False
    return True


@given(short_name)
def test_what_is_encoded_is_a_name_cloudflare_takes(name: str) -> None:
    assert CLOUDFLARE.fullmatch(names.encode(name))


@given(short_name)
def test_decoding_gives_the_name_back(name: str) -> None:
    assert names.decode(names.encode(name)) == name


@given(short_name, short_name)
def test_two_names_never_meet(one: str, other: str) -> None:
    assume(one != other)
    assert names.encode(one) != names.encode(other)


@given(st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z"))
def test_a_valid_name_stays_as_it_is_unless_it_wears_the_marker(name: str) -> None:
    if name.startswith("q--"):
        assert not _fits(name) or names.encode(name) != name
    else:
        assert names.encode(name) == name


@given(st.from_regex(r"\Aq--[a-z0-9-]{0,40}\Z"))
def test_a_queue_name_decodes_only_if_encoding_gives_it(queue_name: str) -> None:
    try:
        name = names.decode(queue_name)
    except QueueNameError:
        return
    assert names.encode(name) == queue_name


@pytest.mark.parametrize(
    ("name", "queue_name"),
    [
        ("cutmv-processing", "cutmv-processing"),
        ("celery", "celery"),
        ("my_queue", "q--my-uqueue"),
        ("celery.priority", "q--celery-dpriority"),
        ("Video", "q---cvideo"),
        ("é", "q---xe9q"),
        ("q--my", "q--q-h-hmy"),
        ("-", "q---h"),
    ],
)
def test_names_are_spelled_as_documented(name: str, queue_name: str) -> None:
    assert names.encode(name) == queue_name


@pytest.mark.parametrize("name", ["a" * 64, "_" * 31, "A" * 40])
def test_a_name_too_long_is_refused_and_told_why(name: str) -> None:
    with pytest.raises(QueueNameError, match="too long: Cloudflare allows 63"):
        names.encode(name)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(QueueNameError):
        names.encode("")


@pytest.mark.parametrize("queue_name", ["q--x", "q---x110000q", "q---x61q", "q---z", "UPPER"])
def test_a_name_of_somebody_else_is_not_decoded(queue_name: str) -> None:
    with pytest.raises(QueueNameError):
        names.decode(queue_name)


@given(short_name)
def test_a_dead_letter_queue_has_a_valid_name_that_no_other_queue_meets(name: str) -> None:
    dead = names.dead_letters(names.encode(name), "{queue}-dead")

    assert CLOUDFLARE.fullmatch(dead)
    assert dead != names.encode(name)
    if not dead.startswith(names.LONG_DEAD_LETTERS):
        assert names.decode(dead) == f"{name}-dead"


@pytest.mark.parametrize(
    ("name", "dead"),
    [
        ("cutmv-processing", "cutmv-processing-dead"),
        ("celery.priority", "q--celery-dpriority-hdead"),
        ("a" * 58, "a" * 58 + "-dead"),
    ],
)
def test_dead_letter_queues_are_spelled_like_any_queue(name: str, dead: str) -> None:
    assert names.dead_letters(names.encode(name), "{queue}-dead") == dead


@pytest.mark.parametrize("name", ["a" * 59, "a" * 63, "x" * 40 + "_" * 10])
def test_a_dead_letter_queue_whose_name_is_too_long_has_a_digest_for_one(name: str) -> None:
    dead = names.dead_letters(names.encode(name), "{queue}-dead")

    assert CLOUDFLARE.fullmatch(dead)
    assert dead.startswith("q---l")
    assert dead != names.dead_letters(names.encode(name[:-1]), "{queue}-dead")
    with pytest.raises(QueueNameError):
        names.decode(dead)
