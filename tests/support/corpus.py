"""Sources of every kind that is cut, and what must hold of any clip of them.

Each frame shows its number, and the sound tells its time (see `tests.support.media`).
"""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from cutmv.media import (
    Clip,
    OutputSpec,
    Rendered,
    ffmpeg_path,
    output_extension,
    plan,
    probe,
    render,
)
from cutmv.media.engine.codecs.headers import nal
from tests.support.media import audio_offset_s, duration_s, frame_number, make_sample, start_s

SECONDS = 10
SIZE = (320, 180)
CUT = OutputSpec("cutdown", "source", "crop")


def x264(*options: str, preset: str = "ultrafast") -> tuple[str, ...]:
    return ("-c:v", "libx264", "-preset", preset, "-sc_threshold", "0", *options)


def x265(options: str, *more: str) -> tuple[str, ...]:
    parameters = f"log-level=error:scenecut=0:{options}"
    return ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", parameters, *more)


@dataclass(frozen=True)
class Kind:
    """How a source is made: its container follows from `suffix`. Copied says whether clips are."""

    suffix: str
    codec: tuple[str, ...]
    rate: str = "30"
    vfr: bool = False
    rotation: int = 0
    audio_delay_s: float = 0.0
    #: Seconds at which the file is trimmed without encoding, so that it begins before zero.
    trimmed_s: float = 0.0
    copied: bool = True


HVC1 = ("-tag:v", "hvc1")
MPEG2 = ("-c:v", "mpeg2video", "-g", "15", "-bf", "2", "-q:v", "3")
VP9 = ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline")
KINDS = {
    "every picture a key": Kind("mp4", x264("-g", "1")),
    "groups of 12": Kind("mp4", x264("-g", "12", "-bf", "2")),
    "pyramid": Kind(
        "mp4", x264("-g", "50", "-bf", "3", "-x264-params", "b-pyramid=normal", preset="fast")
    ),
    "open groups": Kind(
        "mp4", x264("-g", "97", "-bf", "2", "-x264-params", "open-gop=1", preset="fast")
    ),
    "one group": Kind("mp4", x264("-g", "1000", "-bf", "2")),
    "baseline": Kind("mp4", x264("-g", "30", "-profile:v", "baseline")),
    "29.97": Kind("mp4", x264("-g", "48", "-bf", "2"), rate="30000/1001"),
    "milliseconds": Kind("mkv", x264("-g", "48", "-bf", "2"), rate="24000/1001"),
    "variable rate": Kind("mp4", x264("-g", "30", "-bf", "2"), vfr=True),
    "transport stream": Kind("ts", x264("-g", "48", "-bf", "2"), rate="25"),
    "quicktime, wav": Kind("mov", (*x264("-g", "24"), "-c:a", "pcm_s16le"), rate="24"),
    "turned": Kind("mp4", x264("-g", "48", "-bf", "2"), rotation=90),
    "ten bits": Kind(
        "mp4", x264("-g", "48", "-bf", "2", "-pix_fmt", "yuv420p10le", preset="veryfast")
    ),
    "late sound": Kind("mp4", x264("-g", "48", "-bf", "2"), audio_delay_s=1.0),
    "trimmed": Kind("mp4", x264("-g", "90", "-bf", "2"), trimmed_s=1.7),
    "interlaced": Kind(
        "mp4",
        x264("-g", "24", "-bf", "2", "-flags", "+ildct+ilme", "-x264-params", "tff=1"),
        rate="25",
    ),
    "44.1 kHz, mono": Kind("mp4", (*x264("-g", "40"), "-ar", "44100", "-ac", "1")),
    "5.1, AC-3": Kind("mkv", (*x264("-g", "40", "-bf", "2"), "-c:a", "ac3", "-ac", "6")),
    "MP3": Kind("mkv", (*x264("-g", "40", "-bf", "2"), "-c:a", "libmp3lame")),
    "hevc": Kind("mp4", x265("keyint=30:min-keyint=30:bframes=3:open-gop=0", *HVC1)),
    "hevc, open": Kind("mp4", x265("keyint=48:min-keyint=48:bframes=3:open-gop=1", *HVC1)),
    "hevc, matroska": Kind("mkv", x265("keyint=48:min-keyint=48:bframes=4:b-pyramid=1")),
    "hevc, transport stream": Kind("ts", x265("keyint=48:min-keyint=48:bframes=3"), rate="25"),
    "hevc, ten bits": Kind("mp4", x265("keyint=48:bframes=3", *HVC1, "-pix_fmt", "yuv420p10le")),
    "vp9, opus": Kind("webm", (*VP9, "realtime", "-g", "48", "-c:a", "libopus")),
    "vp9, hidden pictures": Kind(
        "mp4", (*VP9, "good", "-g", "60", "-auto-alt-ref", "1", "-lag-in-frames", "16")
    ),
    "av1": Kind("mp4", ("-c:v", "libsvtav1", "-preset", "10", "-g", "48")),
    "mpeg2": Kind("ts", (*MPEG2, "-c:a", "mp2"), rate="25"),
    "mpeg2, quicktime": Kind("mov", (*MPEG2, "-c:a", "pcm_s16be"), rate="30000/1001"),
    "mpeg2, interlaced": Kind("ts", (*MPEG2, "-flags", "+ildct+ilme", "-c:a", "ac3"), rate="25"),
    "prores": Kind("mov", ("-c:v", "prores_ks", "-profile:v", "1")),
    "prores, wav": Kind("mov", ("-c:v", "prores_ks", "-profile:v", "0", "-c:a", "pcm_s24le")),
    "dnxhr": Kind("mov", ("-c:v", "dnxhd", "-profile:v", "dnxhr_lb", "-pix_fmt", "yuv422p",
                          "-c:a", "pcm_s24le"), rate="25"),
    "mjpeg": Kind("mov", ("-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p")),
    "mjpeg, avi": Kind("avi", ("-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p",
                               "-c:a", "pcm_s16le"), rate="25"),
    "ffv1, avi": Kind("avi", ("-c:v", "ffv1", "-g", "12", "-c:a", "pcm_s16le"), rate="25"),
    "cineform, avi": Kind("avi", ("-c:v", "cfhd", "-pix_fmt", "yuv422p10le", "-c:a", "pcm_s16le")),
    "magicyuv": Kind("mov", ("-c:v", "magicyuv", "-pix_fmt", "yuv422p", "-strict", "-2")),
    "animation": Kind("mov", ("-c:v", "qtrle", "-pix_fmt", "rgb24", "-g", "30")),
    "png": Kind("mov", ("-c:v", "png", "-pix_fmt", "rgb24")),
    "ffv1": Kind("mkv", ("-c:v", "ffv1", "-level", "3", "-g", "1", "-c:a", "flac")),
    "ffv1, groups": Kind("mkv", ("-c:v", "ffv1", "-level", "3", "-g", "12", "-c:a", "flac")),
    "ffv1, version 1": Kind("mkv", ("-c:v", "ffv1", "-level", "1", "-g", "12", "-c:a", "flac")),
    "ffv1, wav": Kind("mkv", ("-c:v", "ffv1", "-level", "3", "-g", "1", "-c:a", "pcm_f32le")),
    "vp8": Kind("webm", ("-c:v", "libvpx", "-cpu-used", "8", "-deadline", "realtime", "-g", "40",
                         "-c:a", "libvorbis")),
    "avi": Kind("avi", ("-c:v", "mpeg4", "-q:v", "3", "-bf", "2"), copied=False),
}  # fmt: skip


#: What a random source is made of: for each container its pictures' codecs and its sounds'.
CONTAINERS = {
    "mp4": (("h264", "hevc", "vp9", "av1"), ("aac", "libmp3lame", "ac3", "libopus")),
    "mov": (("h264", "hevc", "prores", "mpeg2"), ("aac", "pcm_s16le", "pcm_s24le", "ac3")),
    "mkv": (
        ("h264", "hevc", "vp9", "av1", "mpeg2"),
        ("aac", "flac", "libopus", "ac3", "pcm_s16le"),
    ),
    "webm": (("vp9", "av1"), ("libopus", "libvorbis")),
    "ts": (("h264", "hevc", "mpeg2"), ("aac", "mp2", "ac3")),
}
RATES = ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")


def random_kind(dice: random.Random) -> Kind:
    """A kind of source that nobody chose."""
    suffix = dice.choice(tuple(CONTAINERS))
    codecs, sounds = CONTAINERS[suffix]
    codec, sound = dice.choice((codecs[0], *codecs)), dice.choice(sounds)
    group, b_frames = dice.choice((1, 12, 50, 97, 250, 1000)), dice.randint(0, 4)
    picture = {
        "h264": x264(
            *("-g", str(group), "-bf", str(b_frames), "-x264-params"),
            f"open-gop={dice.randint(0, 1)}:b-pyramid={dice.choice(('none', 'normal'))}"
            f":ref={dice.randint(1, 4)}:slices={dice.choice((1, 1, 4))}",
            preset=dice.choice(("ultrafast", "fast")),
        ),
        "hevc": x265(
            f"keyint={group}:min-keyint={group}:bframes={b_frames}:open-gop={dice.randint(0, 1)}",
            *(HVC1 if suffix in ("mp4", "mov") else ()),
        ),
        "vp9": (*VP9, dice.choice(("realtime", "good")), "-g", str(group)),
        "av1": ("-c:v", "libsvtav1", "-preset", "10", "-g", str(min(group, 250))),
        "mpeg2": ("-c:v", "mpeg2video", "-g", str(min(group, 15)), "-bf", str(min(b_frames, 2)),
                  "-q:v", "3"),
        "prores": ("-c:v", "prores_ks", "-profile:v", "1"),
    }[codec]  # fmt: skip
    hertz = "48000" if sound == "libopus" else dice.choice(("44100", "48000"))
    heard = ("-c:a", sound, "-ar", hertz, "-ac", dice.choice(("1", "2")))
    rates = RATES[:5] if codec == "mpeg2" else RATES
    # Each of these is written by a container of QuickTime's kind.
    special = dice.choice((None, None, "turned", "trimmed")) if suffix in ("mp4", "mov") else None
    return Kind(
        suffix,
        (*picture, *heard),
        rate=dice.choice(rates),
        vfr=codec not in ("mpeg2", "av1") and suffix != "ts" and dice.random() < 0.25,
        rotation=dice.choice((90, 180, 270)) if special == "turned" else 0,
        trimmed_s=dice.choice((0.4, 1.7)) if special == "trimmed" else 0.0,
        # How FFmpeg plays the late sound of a transport stream is no measure: it begins too early.
        audio_delay_s=dice.choice((0.0, 0.0, 0.7)) if suffix != "ts" else 0.0,
    )


def make(kind: Kind, path: Path, seconds: int = SECONDS) -> Path:
    """Write a source of a kind."""
    plain = path.with_name(f"whole-{path.name}") if kind.trimmed_s else path
    make_sample(
        plain,
        seconds=seconds + kind.trimmed_s,
        size=SIZE,
        rate=kind.rate,
        vfr=kind.vfr,
        rotation=kind.rotation,
        audio_delay_s=kind.audio_delay_s,
        codec=kind.codec,
    )
    if kind.trimmed_s:
        trim = ["-ss", str(kind.trimmed_s), "-i", str(plain), "-c", "copy", str(path)]
        subprocess.run([ffmpeg_path(), "-v", "error", "-y", *trim], check=True)
        plain.unlink()
    return path


@dataclass
class Seen:
    """What a file shows: when, and which frame, by its number."""

    times: list[Fraction] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


def seen(path: Path, rotation: int = 0) -> Seen:
    """What a file shows, by decoding all of it.

    `rotation` is its source's, in degrees: what does not say that it is to be turned was turned.
    """
    found = Seen()
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        assert video.time_base is not None
        avi, latest = file.format.name == "avi", -1
        for frame in file.decode(video):
            at = frame.dts if avi else frame.pts
            latest = latest + 1 if at is None else at  # the last that a decoder holds
            found.times.append(latest * video.time_base)
            image = frame.to_ndarray(format="gray")
            if rotation and not frame.rotation:
                image = np.rot90(image, -(rotation // 90))
            found.numbers.append(frame_number(image, SIZE))
    return found


@lru_cache(maxsize=4)
def truth(source: Path) -> Seen:
    return seen(source)


def check(kind: Kind, source: Path, wanted: Clip, folder: Path) -> tuple[Path, Rendered]:
    """Cut a clip, and check its frames and their times, its sound, and that it decodes well."""
    info = probe(source)
    made = folder / f"made.{output_extension(info, CUT)}"
    told = render(source, plan(info, wanted, CUT), made, timeout_s=60)
    whole, tick = truth(source), tick_of(source)
    own_clock = source.suffix in (".ts", ".avi")
    zero = whole.times[0] if own_clock else max(Fraction(0), Fraction(start_s(source)))
    # A clock that counts frames rounds no clip's times.
    rounding = tick if tick < Fraction(1, 500) else Fraction(1, 10_000)
    start, end = (zero + round(at / rounding) * rounding for at in (wanted.start, wanted.end))
    begun = sum(at <= start for at in whole.times)
    expected = [
        (max(Fraction(0), at - start), number)
        for place, (at, number) in enumerate(zip(whole.times, whole.numbers, strict=True))
        if at < end and place >= begun - 1
    ]
    given = seen(made, kind.rotation)
    assert given.numbers == [number for _, number in expected]
    assert told.frames == len(expected)
    late = max(abs(a - b) for a, (b, _) in zip(given.times, expected, strict=True))
    assert late <= Fraction(1, 1000)
    length_s = float(end - start)
    for stream in ("v:0", "a:0"):
        # What Opus needs before its first sample counts in a WebM's length.
        most_s = 0.010 if (stream, made.suffix) == ("v:0", ".webm") else 0.001
        assert abs(_length_s(made, stream) - length_s) <= most_s, stream
    if length_s > 0.3:
        offset_s = audio_offset_s(made, source, float(start) - start_s(source))
        # WebM's and AVI's own clocks tell the sound's start to some milliseconds.
        assert abs(offset_s) <= (0.007 if source.suffix in (".webm", ".avi") else 0.001)
    # Rounded to a rate's ticks, as FFmpeg does it, milliseconds may be the same twice.
    own_times = ["-fps_mode", "passthrough", "-enc_time_base", "demux"]
    argv = [ffmpeg_path(), "-v", "error", "-i", str(made), *own_times, "-f", "null", "-"]
    complaints = subprocess.run(argv, check=False, capture_output=True, text=True).stderr
    assert complaints == ""
    return made, told


def _length_s(path: Path, stream: str) -> float:
    """How long a stream is shown; of WebM and Matroska, which don't tell, what the file says."""
    if path.suffix not in (".webm", ".mkv"):
        return duration_s(path, stream)
    with av.open(str(path)) as file:
        if stream == "v:0":
            assert file.duration is not None
            return file.duration / av.time_base
        frames = list(file.decode(audio=0))
        assert frames[0].time is not None
        assert frames[-1].time is not None
        assert abs(frames[0].time) <= 0.001
        return sum(frame.samples for frame in frames) / frames[0].sample_rate


def tick_of(path: Path) -> Fraction:
    with av.open(str(path)) as file:
        tick = file.streams.video[0].time_base
        assert tick is not None
        return tick


def payloads(path: Path) -> Counter[bytes]:
    """The picture's packets, without how a container frames them."""
    found: Counter[bytes] = Counter()
    with av.open(str(path)) as file:
        for packet in file.demux(file.streams.video[0]):
            data = bytes(packet)
            if data.startswith((b"\0\0\1", b"\0\0\0\1")):
                data = nal.with_lengths(nal.of_start_codes(data))
            if data:
                found[data] += 1
    return found


def joins(path: Path, copied: Counter[bytes]) -> list[int]:
    """The places, in the order of showing, at which copied pictures follow encoded ones, or end."""
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    shown = [bytes(each) in copied for each in sorted(packets, key=lambda each: each.pts or 0)]
    return [place for place in range(1, len(shown)) if shown[place] != shown[place - 1]]
