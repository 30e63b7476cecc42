"""What a film has beside its picture and sound: texts and chapters; and what it lacks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from av.container import InputContainer
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from cutmv.media.engine.source.file import rewind
from cutmv.media.engine.writer import Heard, Writer

#: Since when and until when (s), and its title.
Chapter = tuple[Fraction, Fraction, str]
#: Codecs of subtitles that are text, by FFmpeg's names.
TEXTS = frozenset({"mov_text", "subrip", "srt", "text", "ass", "ssa", "webvtt"})
#: The codec of texts in each container.
TEXT_CODECS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
#: Texts are told in so many ticks a second, as SubRip has them.
TICKS = 1000
#: Seconds before a clip in which a text may begin that is still shown in it.
LONGEST_S = 10
#: Characters and texts at most.
MAX_CHARS, MAX_TEXTS = 4000, 20_000
_STYLED = re.compile(r"\{[^}]*\}|<[^>]*>")


def texts(container: InputContainer) -> list[SubtitleStream]:
    """Return the tracks of a source that are texts."""
    return [each for each in container.streams.subtitles if _codec(each) in TEXTS]


@dataclass(frozen=True, slots=True)
class Part:
    """A span of a source, in seconds on its clock, that begins at `at_s` of a film."""

    container: InputContainer
    start_s: Fraction
    end_s: Fraction
    at_s: Fraction = Fraction(0)


def add_texts(writer: Writer, parts: Sequence[Part]) -> None:
    """Add each track of texts, as far as they are shown in a film's parts, without their styles.

    Tracks of one language are one in the film, the first those of each source, and so on.
    """
    codec = TEXT_CODECS[writer.muxer]
    tracks: dict[tuple[str, int], tuple[SubtitleStream, list[Heard]]] = {}
    for part in parts:
        found = Counter[str]()
        for stream in texts(part.container):
            language = stream.language or ""
            _, shown = tracks.setdefault((language, found[language]), (stream, []))
            found[language] += 1
            shown += [
                Heard(
                    _packed(text, codec),
                    round((part.at_s + begin) * TICKS),
                    round((end - begin) * TICKS),
                )
                for begin, end, text in _shown(part.container, stream, part.start_s, part.end_s)
            ]
    for stream, shown in tracks.values():
        if shown:
            writer.add_texts(stream, codec, shown, TICKS)


def chapters(part: Part) -> list[Chapter]:
    """Return the chapters of a source, as far as they lie in a part, with their titles."""
    found = []
    for each in part.container.chapters():
        tick = each["time_base"] or Fraction(1)
        begin, end = (
            min(max(each[name] * tick, part.start_s), part.end_s) - part.start_s + part.at_s
            for name in ("start", "end")
        )
        if begin < end:
            found.append((begin, end, each["metadata"].get("title", "")))
    return found


def add_chapters(writer: Writer, found: Sequence[Chapter]) -> None:
    """Add chapters to a film."""
    told = [
        (round(begin * TICKS), round(end * TICKS), {"title": title}) for begin, end, title in found
    ]
    writer.add_chapters(told, TICKS)


def named(part: Part, label: str, text: str) -> list[Chapter]:
    """Return the chapters of a part that is a clip: the first is the clip, then the source's own.

    A clip without a label is called as the source's chapter at its start, or by its `text`.
    """
    end_s = part.at_s + part.end_s - part.start_s
    own = sorted(chapters(part))
    at_start = [title for begin, _, title in own if begin == part.at_s]
    begins = {begin: title for begin, _, title in own} | {
        part.at_s: label or next(iter(at_start), "") or text
    }
    return [(begin, end, begins[begin]) for begin, end in pairwise([*sorted(begins), end_s])]


def left_out(container: InputContainer, kept: set[int], *, with_texts: bool) -> str | None:
    """Return a sentence about the streams of a source that a film has not, if there are any.

    `kept` are the indices of those it has, `with_texts` says whether it has those that are texts.
    """
    missing: Counter[str] = Counter()
    named: dict[str, list[str]] = {}
    for stream in container.streams:
        kind = _kind(stream)
        if stream.index in kept or kind is None or (with_texts and kind == "text track"):
            continue
        missing[kind] += 1
        if stream.language and stream.language != "und":
            named.setdefault(kind, []).append(stream.language)
    if not missing:
        return None
    parts = [
        f"{count} {kind}{'s' if count > 1 else ''}"
        + (f" ({', '.join(named[kind])})" if kind in named else "")
        for kind, count in missing.items()
    ]
    return f"Left out of the film: {', '.join(parts)}."


def _kind(stream: Stream) -> str | None:
    """Return what a stream is to people; none for what they don't miss: chapters' own titles."""
    if stream.disposition & Disposition.attached_pic:
        return "cover"
    if stream.type == "subtitle":
        return "text track" if _codec(stream) in TEXTS else "subtitle track of pictures"
    if stream.type == "data":
        tags = {name.lower() for name in stream.metadata}
        if "timecode" in tags:
            return "timecode track"
        return None if stream.metadata.get("handler_name") == "SubtitleHandler" else "data track"
    return {"audio": "sound track", "video": "picture track", "attachment": "attachment"}.get(
        stream.type
    )


def _codec(stream: Stream) -> str | None:
    context: Any = stream.codec_context
    return context.name if context else None


def _shown(
    container: InputContainer, stream: SubtitleStream, start_s: Fraction, end_s: Fraction
) -> Iterator[tuple[Fraction, Fraction, str]]:
    """Yield the texts that are shown in a clip, when and until when (s), from its start."""
    tick, name, given = Fraction(stream.time_base or 1), _codec(stream), 0
    rewind(container, stream, int((start_s - LONGEST_S) / tick))
    packet: Any
    for packet in container.demux(stream):
        if packet.pts is None or not packet.size:
            continue
        begin = packet.pts * tick
        end = begin + (packet.duration or 0) * tick
        if begin >= end_s or given >= MAX_TEXTS:
            return
        text = _text(bytes(packet), str(name))
        if text and end > start_s:
            given += 1
            yield max(begin, start_s) - start_s, min(end, end_s) - start_s, text


def _text(data: bytes, codec: str) -> str:
    """Return the plain text of a packet."""
    if codec == "mov_text":  # 3GPP TS 26.245: a length, the text, and boxes of its styles
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
        if data[:2] in (b"\xfe\xff", b"\xff\xfe"):
            return data.decode("utf-16", "replace")[:MAX_CHARS]
    text = data.decode("utf-8", "replace")
    if codec in ("ass", "ssa"):  # the ninth field of an event, as Matroska has it
        text = text.split(",", 8)[-1].replace(r"\N", "\n").replace(r"\n", "\n")
    return _STYLED.sub("", text).strip()[:MAX_CHARS]


def _packed(text: str, codec: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data if codec == "mov_text" else data
