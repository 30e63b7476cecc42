import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cutmv.transports.cloudflare.errors import QueueNameError
from cutmv.transports.cloudflare.queues import names
from cutmv.transports.cloudflare.queues.bindings import TemporaryBinding

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
    dead = names.dead_letter_name(names.encode(name), "{queue}-dead")

    assert CLOUDFLARE.fullmatch(dead)
    assert dead != names.encode(name)
    if not dead.startswith(names.DIGEST_PREFIX):
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
    assert names.dead_letter_name(names.encode(name), "{queue}-dead") == dead


@pytest.mark.parametrize("name", ["a" * 59, "a" * 63, "x" * 40 + "_" * 10])
def test_a_dead_letter_queue_whose_name_is_too_long_has_a_digest_for_one(name: str) -> None:
    dead = names.dead_letter_name(names.encode(name), "{queue}-dead")

    assert CLOUDFLARE.fullmatch(dead)
    assert dead.startswith("q---l")
    assert dead != names.dead_letter_name(names.encode(name[:-1]), "{queue}-dead")
    with pytest.raises(QueueNameError):
        names.decode(dead)


steps = st.integers(1, 9)


@given(short_name, steps)
def test_a_level_s_name_is_one_cloudflare_takes_and_gives_the_level_back(
    name: str, step: int
) -> None:
    assume(len(names.encode(name)) <= 56)
    encoded = names.encode(names.PriorityLevel(name, step))

    assert CLOUDFLARE.fullmatch(encoded)
    assert names.read_level(encoded) == names.PriorityLevel(name, step)


@given(short_name, short_name, steps)
def test_a_level_and_a_queue_never_meet(name: str, other: str, step: int) -> None:
    assume(len(names.encode(name)) <= 56)
    encoded = names.encode(names.PriorityLevel(name, step))

    assert names.encode(other) != encoded
    assert names.read_level(names.encode(other)) is None
    assert TemporaryBinding.read(encoded) is None
    if _fits(encoded):
        assert names.encode(encoded) != encoded, "a queue of that very name is spelled out"


def test_a_name_too_long_for_levels_is_refused() -> None:
    assert names.encode(names.PriorityLevel("x" * 56, 3))
    with pytest.raises(QueueNameError, match="too long for priorities"):
        names.encode(names.PriorityLevel("x" * 57, 3))


@pytest.mark.parametrize(
    "queue_name", ["q---p0-x", "q---p3-", "q---p3", "q---p33-x", "q---p3-q--x-"]
)
def test_what_is_no_level_is_told_apart(queue_name: str) -> None:
    assert names.read_level(queue_name) is None


@pytest.mark.parametrize(("priority", "found"), [(0, 0), (2, 0), (3, 3), (5, 3), (6, 6), (9, 9)])
def test_a_priority_belongs_to_the_last_step_at_or_below_it(priority: int, found: int) -> None:
    part = names.level_of("x", (0, 3, 6, 9), priority)

    assert part == (names.PriorityLevel("x", found) if found else "x")
    assert names.level_of("x", (), priority) == "x"


def test_a_level_has_dead_letters_of_its_own() -> None:
    level = names.encode(names.PriorityLevel("work", 3))

    assert names.dead_letter_name(level, "{queue}-dead") == "q---p3-work-dead"
    long = names.encode(names.PriorityLevel("x" * 56, 3))
    other = names.encode(names.PriorityLevel("x" * 56, 6))
    dead = {names.dead_letter_name(name, "{queue}-dead") for name in (long, other)}
    assert len(dead) == 2
    assert all(CLOUDFLARE.fullmatch(name) for name in dead)
