"""`cutmv.progress.journal`: one order for all who look on, of bounded size."""

from __future__ import annotations

import json

from cutmv.progress.journal import Journal, View


def filled(count: int, max_bytes: int = 10_000) -> Journal:
    journal = Journal(max_bytes)
    for number in range(count):
        journal.add("ann", "job", {"type": "job", "number": number}, detail=False)
    return journal


def test_entries_are_numbered_one_by_one_and_say_so() -> None:
    entries = filled(3).since(0)

    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert [json.loads(entry.text)["seq"] for entry in entries] == [1, 2, 3]


def test_what_came_since_is_told_once() -> None:
    journal = filled(5)

    assert [entry.seq for entry in journal.since(3)] == [4, 5]
    assert journal.since(5) == []


def test_the_oldest_are_forgotten_by_their_bytes() -> None:
    journal = filled(1000, max_bytes=1000)

    kept = journal.since(0)
    assert sum(len(entry.text) for entry in kept) <= 1000
    assert kept[-1].seq == 1000
    assert journal.has_all_since(kept[0].seq - 1)
    assert not journal.has_all_since(kept[0].seq - 2)
    assert not journal.has_all_since(1001)


def test_a_view_shows_ones_own_and_the_details_of_one_job() -> None:
    journal = Journal()
    for person in ("ann", "bob", None):
        for job in ("a", "b"):
            for detail in (False, True):
                journal.add(person, job, {}, detail=detail)

    def shown(view: View) -> list[tuple[str | None, str, bool]]:
        return [(e.person_id, e.job_id, e.detail) for e in journal.since(0) if view.shows(e)]

    assert shown(View("ann")) == [("ann", "a", False), ("ann", "b", False)]
    assert shown(View("ann", "b")) == [
        ("ann", "a", False),
        ("ann", "b", False),
        ("ann", "b", True),
    ]
    assert len(shown(View(None))) == 6


def test_each_numbering_has_a_name_of_its_own() -> None:
    assert Journal().epoch != Journal().epoch
