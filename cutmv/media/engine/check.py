"""Checks a finished film: an exit code is no proof."""

from __future__ import annotations

import os
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from cutmv.media.engine.source.file import SourceError, sparing, tick_of

#: A decoder's options where a picture must decode, and need not look right: a third of the time.
UNFILTERED = {"skip_loop_filter": "all"}
#: Seconds before a film's end from which its sound is decoded.
END_S = 1
#: How a file ends that is whole: the GIF trailer, the JPEG end of image, the PNG trailer.
ENDS = {".gif": b";", ".jpg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}


def film(path: Path, *, packets: int, last: float, sound: bool) -> None:
    """Check that a film holds so many packets, and that its picture and sound decode at both ends.

    `last` is when its last picture is shown, in seconds. Raises SourceError.
    """
    try:
        with av.open(str(path)) as file:
            video = file.streams.video[0]
            video.codec_context.options = UNFILTERED
            video.codec_context.thread_type = "AUTO"
            # The index of an MP4 is what a demuxer reads its packets by.
            index = video.index_entries if file.format.name.startswith("mov") else None
            counted = len(index or ()) or sum(1 for packet in file.demux(video) if packet.size)
            if counted != packets or (index and index[-1].pos + index[-1].size > file.size):
                raise SourceError(f"{packets - counted} pictures are missing in the result.")
            shown = _last_picture(file, video, last)
            if shown is None or abs(shown - last) > 1 / 500:
                raise SourceError("The last picture of the result can't be decoded.")
            tracks = len(file.streams.audio) if sound else 0
        for track in range(tracks):  # each from the start, which may be before zero
            with av.open(str(path)) as file:
                _decode_sound(file, file.streams.audio[track])
    except (av.FFmpegError, IndexError) as error:
        raise _undecodable(error) from error


def sound(path: Path) -> None:
    """Check that a file's sound decodes at both ends. Raises SourceError."""
    try:
        with av.open(str(path)) as file:
            _decode_sound(file, file.streams.audio[0])
    except (av.FFmpegError, IndexError) as error:
        raise _undecodable(error) from error


def pictures(path: Path, count: int) -> tuple[int, int]:
    """Decode a still or a GIF, which has so many pictures; return its size in pixels.

    Raises SourceError where there are not so many that can be decoded.
    """
    try:
        with av.open(str(path)) as file:
            video = file.streams.video[0]
            sizes = [(frame.width, frame.height) for frame in file.decode(video)]
    except (av.FFmpegError, IndexError) as error:
        raise _undecodable(error) from error
    with path.open("rb") as written:
        written.seek(-len(ENDS[path.suffix]), os.SEEK_END)
        whole = written.read() == ENDS[path.suffix]
    if not whole or len(sizes) != count or len(set(sizes)) != 1:
        raise SourceError("A picture of the result is missing, or can't be decoded.")
    return sizes[0]


def webp(path: Path) -> tuple[int, tuple[int, int]]:
    """Return how many pictures an animation holds, and its size in pixels. Raises SourceError.

    Pictures that are alike are one. FFmpeg's libraries read no animation; the format is that of
    https://developers.google.com/speed/webp/docs/riff_container.
    """
    count, size = 0, (0, 0)
    with path.open("rb") as file:
        riff = file.read(12)
        end = 8 + int.from_bytes(riff[4:8], "little")
        if riff[:4] != b"RIFF" or riff[8:] != b"WEBP" or end > path.stat().st_size:
            raise SourceError("The result is no whole WebP.")
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[4:], "little")
            told = file.read(min(length, 10))
            if head[:4] == b"VP8X":
                width, height = (int.from_bytes(told[at : at + 3], "little") for at in (4, 7))
                size = width + 1, height + 1
            elif head[:4] == b"VP8 ":  # one picture, which moves nowhere
                width, height = (int.from_bytes(told[at : at + 2], "little") for at in (6, 8))
                count, size = 1, (width & 0x3FFF, height & 0x3FFF)
            count += head[:4] == b"ANMF"
            file.seek(length + length % 2 - len(told), os.SEEK_CUR)
    return count, size


def _last_picture(file: InputContainer, video: VideoStream, last: float) -> float | None:
    """Decode the first picture, and of the last group what the last picture needs.

    Return when that is shown (s); it should be at `last`.
    """
    file.seek(0)
    if next(file.decode(video), None) is None:
        return None
    end = (video.start_time or 0) + (video.duration or 0)
    file.seek(end, stream=video)
    latest, tick = 0.0, tick_of(video)
    last_packets = sparing(
        video, file.demux(video), lambda packet: (packet.pts or 0) * tick >= last - 1 / 500
    )
    for packet in last_packets:
        latest = max([latest, *(frame.time for frame in packet.decode() if frame.time is not None)])
    return latest


def _decode_sound(file: InputContainer, sound: AudioStream) -> None:
    """Decode the first sound and the last. Raises SourceError where there is none."""
    frames = file.decode(sound)
    if next(frames, None) is None:
        raise SourceError("The sound of the result can't be decoded.")
    end_s = float(((sound.start_time or 0) + (sound.duration or 0)) * (sound.time_base or 0))
    if end_s <= END_S:
        sum(frame.samples for frame in frames)
        return
    file.seek(int((end_s - END_S) * av.time_base))
    if sum(frame.samples for frame in file.decode(sound)) == 0:
        raise SourceError("The end of the result's sound can't be decoded.")


def _undecodable(error: Exception) -> SourceError:
    # An error's whole text has the path.
    told = error.strerror if isinstance(error, av.FFmpegError) else "it has no such stream"
    return SourceError(f"The result can't be decoded: {told}.")
