"""What a stranger's names do to the log."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

import pytest

from cutmv.logs import FORMAT, MAX_MESSAGE_CHARS, JsonLines, OneLine, set_up_logging


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


def json_of(message: str, *args: object, **more: object) -> dict[str, Any]:
    record = logging.LogRecord("cutmv.web", logging.WARNING, "", 0, message, args, None)
    vars(record).update(more)
    line = JsonLines().format(record)
    assert len(line.splitlines()) == 1
    return dict(json.loads(line))


def test_json_has_a_marker_as_an_event_and_what_a_line_tells_of() -> None:
    told = json_of("🔄 Falling back to direct processing... (job %s)", "j1", job_id="j1")

    assert told["event"] == "fallback"
    assert told["message"] == "Falling back to direct processing... (job j1)"
    assert (told["level"], told["logger"], told["job_id"]) == ("warning", "cutmv.web", "j1")
    assert "step_id" not in told
    assert datetime.fromisoformat(told["time"]).tzinfo


def test_json_is_one_bounded_line_whatever_a_stranger_s_path_has() -> None:
    told = json_of("GET %s failed", "\n\u2028\x85{" + "x" * 1_000_000)

    assert len(told["message"]) < MAX_MESSAGE_CHARS + 100


def test_json_has_the_traceback_of_an_error() -> None:
    try:
        raise RuntimeError("a bug")
    except RuntimeError as error:
        info = (type(error), error, error.__traceback__)
    told = json_of("it failed", exc_info=info)

    assert told["exception"].splitlines()[-1] == "RuntimeError: a bug"


@pytest.mark.parametrize(("said", "formatter"), [("json", JsonLines), ("console", OneLine)])
def test_the_environment_chooses(
    said: str, formatter: type[logging.Formatter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUTMV_LOG_FORMAT", said)
    root = logging.getLogger()
    handler = logging.StreamHandler()
    monkeypatch.setattr(root, "handlers", [handler])

    set_up_logging(root.level)

    assert type(handler.formatter) is formatter
