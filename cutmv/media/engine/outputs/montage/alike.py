"""Encodes a clip's picture like that of another source, so that one can follow the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine import check
from cutmv.media.engine.codecs import Edge, Uncopyable, codec_of
from cutmv.media.engine.outputs.joining import Unjoinable
from cutmv.media.engine.protocol import Like, Made, Output
from cutmv.media.engine.source.file import SourceError, opened, tick_of
from cutmv.media.engine.writer import Seen, Writer


def write(output: Output, like: Like, muxer: str, beside: Path, length_s: Fraction) -> Made:
    """Write a film of the pictures in a file `beside` it, encoded like another's.

    Raises Unjoinable where that can't be.
    """
    with opened(like.source, like.demuxer) as container, av.open(str(beside), format="nut") as file:
        stream, video = container.streams[like.video], file.streams.video[0]
        if not isinstance(stream, VideoStream):
            raise SourceError("The file's picture is none.")
        tick = tick_of(stream)
        try:
            codec = codec_of(stream)
            header = codec.header(edges=True)
            with Writer(Path(output.path), muxer, tick) as writer:
                writer.add_picture(stream, header)
                frames = _placed(file.decode(video), tick_of(video) / tick, stream)
                for seen in _packets(codec.edge(like.crf), frames, round(length_s / tick)):
                    writer.put(seen)
                writer.finish(round(length_s / tick))
        except Uncopyable as reason:
            raise Unjoinable(str(reason)) from reason
        size = (stream.codec_context.width, stream.codec_context.height)
    last_s = float(writer.last * tick)
    check.film(Path(output.path), packets=writer.count, last=last_s, sound=False)
    return Made(output.path, writer.count, 0, float(length_s), *size)


def _placed(
    frames: Iterator[VideoFrame], ratio: Fraction, like: VideoStream
) -> Iterator[VideoFrame]:
    """Yield pictures in the format of another's, with times of its clock, from zero on."""
    first: int | None = None
    latest = -1
    for frame in frames:
        at = frame.pts or 0
        first = at if first is None else first
        latest = max(latest + 1, round((at - first) * ratio))
        context = like.codec_context
        if context.pix_fmt != frame.format.name:
            frame = frame.reformat(format=context.pix_fmt)  # noqa: PLW2901
        frame.pts, frame.time_base = latest, tick_of(like)
        frame.pict_type = PictureType.NONE
        yield frame


def _packets(edge: Edge, frames: Iterator[VideoFrame], end: int) -> Iterator[Seen]:
    """Yield the encoded pictures; each is shown until the next, the last until the end."""
    held: Seen | None = None
    for frame in chain(frames, (None,)):
        for packet in edge.encode(frame):
            if held is not None:
                yield replace(held, duration=packet.pts - held.pts)
            held = Seen(packet.data, packet.pts, packet.pts, 0, packet.key)
    if held is not None:
        yield replace(held, duration=end - held.pts)
