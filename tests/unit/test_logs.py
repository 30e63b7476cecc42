"""What a stranger's names do to the log."""

from __future__ import annotations

import logging

import pytest

from cutmv.logs import FORMAT, MAX_MESSAGE_CHARS, OneLine


def line_of(message: str, *args: object) -> str:
    record = logging.LogRecord("cutmv.web", logging.WARNING, "", 0, message, args, None)
    return OneLine(FORMAT).format(record)


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x85", "\u2028", "\0"])
def test_a_path_of_a_stranger_s_begins_no_line(character: str) -> None:
    line = line_of("GET %s: failed", f"/a{character}[2026: INFO] all is well")
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert line.endswith("[2026: INFO] all is well: failed")


def test_a_line_is_of_bounded_length() -> None:
    line = line_of("GET %s failed", "x" * 1_000_000)
    assert len(line) < MAX_MESSAGE_CHARS + 200
    assert "1000011 characters" in line


def test_words_are_left_as_they_are() -> None:
    assert line_of("✅ “Grüße” of %s", "ann").endswith("✅ “Grüße” of ann")
