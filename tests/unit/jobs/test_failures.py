"""Why a step failed, in words for everybody."""

from __future__ import annotations

import re
import signal

import pytest

from cutmv.jobs.failures import UNKNOWN, Failure
from cutmv.media.errors import _MEANINGS, CUT_FAILED, explain

#: Words that a musician need not know.
JARGON = re.compile(r"FFmpeg|SIG[A-Z]+|CUTMV_|moov|codec|errno|worker|decod|stream|max_", re.I)


@pytest.mark.parametrize("words", [words for words, _ in _MEANINGS] + ["Odd thing at 0x5581"])
def test_what_ffmpeg_says_is_told_without_its_words(words: str) -> None:
    error = str(explain(CUT_FAILED, 1, f"[mov,mp4 @ 0x55] {words}", "/data/source"))

    failure = Failure.of(error)

    assert not JARGON.search(failure.said)
    assert failure.advice and not JARGON.search(failure.advice)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGXCPU, signal.SIGKILL])
def test_a_program_that_was_ended_is_told_without_its_signal(number: signal.Signals) -> None:
    failure = Failure.of(str(explain(CUT_FAILED, -number, "", "source")))

    assert not JARGON.search(failure.said + str(failure.advice))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "The upload is no longer kept: upload the video again.",
            "The video is not here any more.",
        ),
        (
            "Given up after 4 tries: The storage can't read: it does not answer.",
            "The video could not be fetched, or the result not stored, though it was tried"
            " repeatedly.",
        ),
        ("Given up after 4 tries: an unexpected error; the log of the worker has it", UNKNOWN),
        ("The row of this step can't be read (spec).", UNKNOWN),
        (
            "The clip can't be copied exactly: it fades.",
            "This clip can't be an exact copy of the video.",
        ),
    ],
)
def test_failures_that_are_known_have_words_of_their_own(error: str, said: str) -> None:
    assert Failure.of(error).said == said


def test_a_line_that_anybody_understands_stays_as_it_is() -> None:
    error = "The clip 5-6 ends past the end of the video, 4.000 s."

    assert Failure.of(error) == Failure(error, None)
