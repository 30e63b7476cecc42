"""Surveys a source: what its headers tell of each stream, and what its first packets show."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from cutmv.media.engine.codecs import Codec, Opaque, Uncopyable, codec_of
from cutmv.media.engine.source.damage import marked
from cutmv.media.engine.source.file import rewind
from cutmv.media.engine.timeline.pictures import Entry

#: Where the look at the packets ends: seconds of a stream, packets, bytes.
LOOKED_S, LOOKED_PACKETS, LOOKED_BYTES = 20, 10_000, 32 * 2**20
#: How the name of a format begins whose index has every packet (ISO 14496-12).
INDEXED = "mov"
#: Seconds by which packets that follow each other are apart when time has jumped, back or ahead.
JUMP_BACK_S, JUMP_AHEAD_S = Fraction(1, 100), 5

Found = dict[str, Any]


def survey(container: InputContainer, picture: VideoStream | None) -> Found:
    """Return what each stream is, the chapters, and what the first packets show."""
    looked = _looked(container, picture)
    found: Found = {
        "streams": [_told(each, looked[each.index]) for each in container.streams],
        "bit_rate": container.bit_rate or None,
        "chapters": [_chapter(each) for each in container.chapters()],
    }
    if picture is None:
        return found | dict.fromkeys(("keyframes", "open_groups", "uncopyable", "ends_early"))
    of_picture = looked[picture.index]
    return found | {
        "keyframes": _keyframes(container, picture, of_picture.entries),
        "open_groups": Entry.OPEN in of_picture.kinds,
        "uncopyable": of_picture.uncopyable,
        "ends_early": _ends_early(container, picture),
    }


@dataclass
class _Looked:
    """What the first packets of a stream show; times in ticks."""

    tick: Fraction
    count: int = 0
    first: int | None = None
    shown: int | None = None
    hidden: int = 0
    damaged: int = 0
    untimed: int = 0
    latest: int | None = None
    #: When the packet before is decoded: times of decoding alone never go back.
    decoded: int | None = None
    jumps: list[tuple[int, int]] = field(default_factory=list)
    #: When pictures are shown at which decoding can begin, and of what kinds these are.
    entries: list[int] = field(default_factory=list)
    kinds: set[Entry] = field(default_factory=set)
    uncopyable: str | None = None

    def take(self, packet: Any) -> None:
        self.count += 1
        self.damaged += packet.is_corrupt
        self.hidden += packet.is_discard
        at = packet.pts if packet.dts is None else packet.dts
        if packet.pts is None:
            self.untimed += 1
        else:
            self.first = packet.pts if self.first is None else min(self.first, packet.pts)
            if not packet.is_discard:
                self.shown = packet.pts if self.shown is None else min(self.shown, packet.pts)
        if at is None:
            return
        self.latest = at
        by = 0 if packet.dts is None or self.decoded is None else packet.dts - self.decoded
        if not -JUMP_BACK_S <= by * self.tick <= JUMP_AHEAD_S:
            self.jumps.append((at, by))
        self.decoded = packet.dts


def _looked(container: InputContainer, picture: VideoStream | None) -> dict[int, _Looked]:
    found = {each.index: _Looked(each.time_base or Fraction(1)) for each in container.streams}
    codec: Codec | None = codec_of(picture) if picture else None
    if picture is not None:
        rewind(container, picture, None)
    packets = size = 0
    packet: Any  # PyAV knows its packets' streams only where one is asked for
    for packet in marked(container):
        if not packet.size:
            continue
        packets, size = packets + 1, size + packet.size
        of = found[packet.stream_index]
        of.take(packet)
        if picture is not None and codec is not None and packet.stream_index == picture.index:
            try:
                entry = codec.entry(packet)
            except Uncopyable as reason:
                codec = Opaque(str(reason))
                entry = codec.entry(packet)
            if entry is not Entry.NONE and packet.pts is not None:
                of.entries.append(packet.pts)
                of.kinds.add(entry)
        begun = of.first is not None and of.latest is not None
        if begun and (of.latest - of.first) * of.tick > LOOKED_S:  # type: ignore[operator]
            break
        if packets >= LOOKED_PACKETS or size >= LOOKED_BYTES:
            break
    if picture is not None and codec is not None:
        found[picture.index].uncopyable = _refusal(codec)
    return found


def _refusal(codec: Codec) -> str | None:
    """Return why no packet of a picture can be copied beside encoded ones; none where it can."""
    try:
        codec.header(edges=True)
    except Uncopyable as reason:
        return str(reason)
    return None


def _keyframes(container: InputContainer, picture: VideoStream, seen: list[int]) -> Found | None:
    """Return how far keyframes are apart (s): by the file's index, or as far as was looked."""
    tick = picture.time_base or Fraction(1)
    times, indexed = sorted(set(seen)), container.format.name.startswith(INDEXED)
    if indexed:
        times = sorted(each.timestamp for each in picture.index_entries if each.is_keyframe)
    gaps = [b - a for a, b in pairwise(times)]
    if not gaps:
        return None
    usual, longest = (float(each * tick) for each in (Fraction(median(gaps)), Fraction(max(gaps))))
    return {"count": len(times), "usual_s": usual, "longest_s": longest, "all": indexed}


def _ends_early(container: InputContainer, picture: VideoStream) -> str | None:
    """Return from when on (s) the file lacks the packets that its index promises, if it does."""
    size, tick = container.size, picture.time_base or Fraction(1)
    if container.format.name.startswith(INDEXED) and size > 0:
        for entry in picture.index_entries:
            if entry.pos + entry.size > size:
                return str((entry.timestamp - (picture.start_time or 0)) * tick)
    return None


def _told(stream: Stream, looked: _Looked) -> Found:
    context: Any = stream.codec_context
    told: Found = {
        "index": stream.index,
        "type": stream.type,
        "codec": context.codec.canonical_name if context else None,
        "profile": context.profile if context else None,
        "language": stream.language,
        "title": stream.metadata.get("title"),
        "dispositions": [e.name for e in Disposition if e and e & stream.disposition],
        "start": _seconds(stream.start_time, stream.time_base),
        "duration": _seconds(stream.duration, stream.time_base),
        "bit_rate": (context.bit_rate if context else None) or None,
        "packets": looked.count,
        "first": _seconds(looked.first, looked.tick),
        "shown": _seconds(looked.shown, looked.tick),
        "hidden": looked.hidden,
        "damaged": looked.damaged,
        "untimed": looked.untimed,
        "jumps": [[float(at * looked.tick), float(by * looked.tick)] for at, by in looked.jumps],
    }
    if isinstance(stream, AudioStream) and context:
        told |= {
            "sample_rate": stream.rate,
            "layout": context.layout.name,
            "format": context.format.name if context.format else None,
        }
    if isinstance(stream, VideoStream) and context:
        told |= {"width": context.width, "height": context.height, "pix_fmt": context.pix_fmt}
        told |= {"level": getattr(context, "level", None)}
    return told


def _chapter(chapter: Any) -> Found:
    tick = Fraction(chapter["time_base"])
    times = {name: float(chapter[name] * tick) for name in ("start", "end")}
    return {**times, "title": chapter["metadata"].get("title")}


def _seconds(ticks: int | None, tick: Fraction | None) -> str | None:
    return None if ticks is None or tick is None else str(ticks * tick)
