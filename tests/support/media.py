"""Videos whose every frame tells its number and whose sound tells its time, and how to read them.

The picture has a grid of 16 squares in its middle, black or white: the bits of the frame's number.
The sound is a chirp, which is nowhere like itself, so that two recordings can be aligned.
"""

from __future__ import annotations

import os
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from cutmv.media import ffmpeg_path
from cutmv.media.running.child import FIXED_ENVIRONMENT

Frames = NDArray[np.uint8]

#: Squares in a row, and rows.
GRID = 4
#: Hertz of the sound as it is compared.
SAMPLE_RATE = 48_000
#: Pictures that are never copied: each cut of them takes its time.
SLOW_TO_CUT = ("-c:v", "mpeg4", "-q:v", "5", "-g", "48", "-bf", "2")
#: What the sound does at `t` seconds: from 200 Hz up, 60 Hz more each second.
CHIRP = "0.5*sin(2*PI*(200*t+30*t*t))"


def make_sample(
    path: Path,
    *,
    seconds: float = 6.0,
    size: tuple[int, int] = (640, 360),
    rate: str = "30",
    audio: bool = True,
    rotation: int = 0,
    vfr: bool = False,
    codec: tuple[str, ...] = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "48", "-bf", "2"),
    audio_delay_s: float = 0.0,
) -> Path:
    """Write a sample; its container follows from the suffix of `path`.

    With `vfr` every third frame is left out. `rotation` is in degrees, as a phone writes it.
    """
    width, height = size
    cell = _cell(size)
    left, top = (width - GRID * cell) // 2, (height - GRID * cell) // 2
    boxes = [f"drawbox=x={left}:y={top}:w={GRID * cell}:h={GRID * cell}:color=black:t=fill"]
    for bit in range(GRID * GRID):
        x, y = left + bit % GRID * cell, top + bit // GRID * cell
        on = f"mod(floor(n/{2**bit}),2)"
        boxes.append(f"drawbox=x={x}:y={y}:w={cell}:h={cell}:color=white:t=fill:enable='{on}'")
    if vfr:
        boxes.append("select='mod(n,3)-1'")
    video = f"testsrc2=size={width}x{height}:rate={rate}:duration={seconds}"
    argv = [ffmpeg_path(), "-v", "error", "-y", "-f", "lavfi", "-i", video]
    if audio:
        sound = f"aevalsrc='{CHIRP}':s={SAMPLE_RATE}:d={seconds}"
        argv += ["-itsoffset", str(audio_delay_s), "-f", "lavfi", "-i", sound, "-c:a", "aac"]
    argv += ["-vf", ",".join(boxes), "-pix_fmt", "yuv420p", *codec]
    argv += ["-fps_mode", "passthrough"] if vfr else []
    plain = path.with_name(f"plain-{path.name}") if rotation else path
    _run([*argv, str(plain)])
    if rotation:
        turned = [ffmpeg_path(), "-v", "error", "-y", "-display_rotation", str(rotation)]
        _run([*turned, "-i", str(plain), "-c", "copy", str(path)])
        plain.unlink()
    return path


def read_frames(path: Path, limit: int | None = None) -> Frames:
    """All frames, as shown, in grey: frames × height × width."""
    width, height = shown_size(path)
    argv = [ffmpeg_path(), "-v", "error", "-i", str(path), "-map", "0:v:0", "-fps_mode"]
    argv += ["passthrough", *(["-frames:v", str(limit)] if limit else [])]
    raw = _run([*argv, "-f", "rawvideo", "-pix_fmt", "gray", "-"])
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width)


def frame_number(image: NDArray[np.uint8], source: tuple[int, int], fit: str = "crop") -> int:
    """The number that a frame shows, whose source was `source` (width, height) before the cut."""
    height, width = image.shape
    ratios = (width / source[0], height / source[1])
    cell = _cell(source) * (max(ratios) if fit == "crop" else min(ratios))
    left, top = (width - GRID * cell) / 2, (height - GRID * cell) / 2
    number = 0
    for bit in range(GRID * GRID):
        x, y = left + (bit % GRID + 0.5) * cell, top + (bit // GRID + 0.5) * cell
        reach = max(1, int(cell / 5))
        around = image[int(y) - reach : int(y) + reach, int(x) - reach : int(x) + reach]
        number |= int(around.mean() > 127) << bit
    return number


def frame_times(path: Path) -> list[Fraction]:
    """When each frame is shown, in seconds, in order; AVI has only the times of decoding."""
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        assert video.time_base is not None
        packets = [packet for packet in file.demux(video) if packet.size and not packet.is_discard]
        avi = file.format.name == "avi"
        times = [packet.dts if avi or packet.pts is None else packet.pts for packet in packets]
        return sorted((at or 0) * video.time_base for at in times)


def start_s(path: Path) -> float:
    """The file's earliest timestamp, in seconds: FFmpeg's zero when it decodes."""
    with av.open(str(path)) as file:
        return file.start_time / 1_000_000


def duration_s(path: Path, stream: str) -> float:
    """The length of a stream ("v:0", "a:0") in seconds."""
    kind, number = stream.split(":")
    with av.open(str(path)) as file:
        streams = file.streams.video if kind == "v" else file.streams.audio
        found = streams[int(number)]
        assert found.duration is not None
        assert found.time_base is not None
        return float(found.duration * found.time_base)


def shown_size(path: Path) -> tuple[int, int]:
    """Width and height as a player shows them."""
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
        return (frame.height, frame.width) if frame.rotation % 180 else (frame.width, frame.height)


def audio_offset_s(output: Path, source: Path, start_s: float) -> float:
    """How much later the sound of `output` is than that of `source` from `start_s` on."""
    wanted = _sound(source)[round(start_s * SAMPLE_RATE) :]
    given = _sound(output)
    length = min(len(wanted), len(given))
    assert length > SAMPLE_RATE // 10, "too little sound to compare"
    padded = 2 ** int(np.ceil(np.log2(2 * length)))
    product = np.fft.rfft(given[:length], padded) * np.conj(np.fft.rfft(wanted[:length], padded))
    correlation = np.fft.irfft(product, padded)
    lag = int(np.argmax(correlation))
    return (lag if lag < padded // 2 else lag - padded) / SAMPLE_RATE


def _sound(path: Path) -> NDArray[np.float32]:
    # Silence stands for what comes before the first sample, as in a player.
    argv = [ffmpeg_path(), "-v", "error", "-i", str(path), "-map", "0:a:0", "-af"]
    argv += ["aresample=async=1:first_pts=0", "-f", "f32le", "-ac", "1", "-ar", str(SAMPLE_RATE)]
    return np.frombuffer(_run([*argv, "-"]), np.float32)


def _cell(size: tuple[int, int]) -> int:
    return int(0.12 * min(size))


def _run(argv: list[str]) -> bytes:
    env = {**os.environ, **FIXED_ENVIRONMENT}
    return subprocess.run(
        argv, check=True, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ).stdout


def make_hours(folder: Path, minutes: int, size: tuple[int, int] = (640, 360)) -> Path:
    """Write a video of so many minutes, each of which is the same."""
    minute = make_sample(
        folder / "minute.mp4",
        seconds=60,
        size=size,
        codec=("-c:v", "libx264", "-preset", "ultrafast", "-g", "150", "-bf", "0"),
    )
    for name in ("minute.h264", "minute.aac"):
        _run([ffmpeg_path(), "-v", "error", "-i", str(minute), "-c", "copy", str(folder / name)])
        with (folder / f"all-{name}").open("wb") as whole:
            for _ in range(minutes):
                whole.write((folder / name).read_bytes())
    argv = [ffmpeg_path(), "-v", "error", "-r", "30", "-i", str(folder / "all-minute.h264")]
    whole_path = folder / "whole.mp4"
    argv += ["-i", str(folder / "all-minute.aac"), "-c", "copy", "-y", str(whole_path)]
    _run(argv)
    for name in ("minute.h264", "minute.aac"):
        (folder / name).unlink()
        (folder / f"all-{name}").unlink()
    return whole_path
