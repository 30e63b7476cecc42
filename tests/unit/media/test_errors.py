"""What people are told when FFmpeg fails."""

from __future__ import annotations

import signal

import pytest

from cutmv.media import MediaError, MediaUnavailable, NoRoom, RenderTimeout
from cutmv.media.errors import explain


@pytest.mark.parametrize(
    ("code", "stderr", "kind", "words"),
    [
        (-signal.SIGSEGV, "", MediaError, r"crashed on it \(SIGSEGV\).*CUTMV_FFMPEG"),
        (-signal.SIGKILL, "", MediaUnavailable, r"ended from outside \(SIGKILL\)"),
        (-signal.SIGXCPU, "", RenderTimeout, "processor time"),
        (1, "[mov @ 0x1] moov atom not found\n", MediaError, "cut short: its index is missing"),
        (1, "av_interleaved_write_frame(): No space left on device", NoRoom, "No space"),
        (1, "", MediaError, "gave no reason"),
        (1, "[a @ 0x1] [b @ 0x2] Odd: http://host/k?sig=secret", MediaError, r"Odd: the file$"),
    ],
)
def test_how_ffmpeg_ended_is_told_in_one_line(
    code: int, stderr: str, kind: type[Exception], words: str
) -> None:
    told = explain("It can't be cut", code, stderr, "/private/name.mp4")
    assert type(told) is kind
    with pytest.raises(kind, match=words):
        raise told
    assert "\n" not in str(told)
    assert "secret" not in str(told)
