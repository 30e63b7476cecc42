"""Measure when a picture starts and ends, for files whose headers do not say."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from cutmv.media.ffprobe import ask, ask_lines
from cutmv.media.info import VideoStream

#: Seconds from a file's start in which its first keyframe is searched, one for each attempt: the
#: first is enough for a whole file, and the last for a capture of any broadcast.
KEYFRAME_WITHIN_S = (0.5, 5.0, 60.0)
#: Seconds for reading all packets of a file: the largest upload, from a slow disk.
ALL_PACKETS_TIMEOUT_S = 600.0


def from_first_keyframe(
    source: str,
    demuxer: str,
    picture: VideoStream,
    *,
    timeout_s: float,
    cancelled: Callable[[], bool] | None = None,
) -> VideoStream:
    """`picture` from its first keyframe on; a capture's frames before that can't be decoded.

    Raises as `probe` does.
    """
    stream = ["-select_streams", str(picture.index), "-show_entries", "packet=pts_time,flags"]
    for within_s in KEYFRAME_WITHIN_S:
        shown = [*stream, "-read_intervals", f"%+{within_s}"]
        found = ask(source, demuxer, shown, timeout_s=timeout_s, cancelled=cancelled)
        for packet in found.get("packets", []):
            if packet["flags"].startswith("K") and "pts_time" in packet:
                start_s = float(packet["pts_time"])
                left_s = picture.start_s + picture.duration_s - start_s
                return replace(picture, start_s=start_s, duration_s=left_s)
    return picture


def measured(
    source: str,
    demuxer: str,
    picture: VideoStream,
    *,
    cancelled: Callable[[], bool] | None = None,
) -> VideoStream:
    """`picture` with the duration and average rate that its packets have.

    A browser's recording and a Matroska written to a pipe do not say them. Reads the whole file and
    decodes nothing. Raises as `probe` does.
    """
    count, first_s, last_s = 0, float("inf"), 0.0

    def take(line: str) -> None:
        nonlocal count, first_s, last_s
        try:
            time_s = float(line.partition(",")[0])
        except ValueError:  # no time, or the empty line that ffprobe puts after side data
            return
        count, first_s, last_s = count + 1, min(first_s, time_s), max(last_s, time_s)

    shown = ["-print_format", "csv=print_section=0", "-show_entries", "packet=pts_time"]
    shown += ["-select_streams", str(picture.index)]
    ask_lines(source, demuxer, shown, take, timeout_s=ALL_PACKETS_TIMEOUT_S, cancelled=cancelled)
    if count == 0:
        return picture
    rate = picture.frame_rate
    if picture.variable and last_s > first_s:
        rate = Fraction((count - 1) / (last_s - first_s)).limit_denominator(1001)
    length_s = last_s - first_s + float(1 / rate)
    return replace(picture, frame_rate=rate, start_s=first_s, duration_s=length_s)
