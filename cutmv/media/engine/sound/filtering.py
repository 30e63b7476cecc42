"""Passes a clip's sound through FFmpeg's filters: as many samples come out, each in its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.filter import Graph

#: The format of all samples: numbers of which 1 is the loudest, the channels side by side. PyAV
#: can't hold eight channels or more apart.
FORMAT = "flt"
#: A filter's name and its options.
Filter = tuple[str, str]
#: Thousandths of a second in which a limiter turns the sound down before a peak, and up after it.
ATTACK_MS, RELEASE_MS = 5, 50


def limiter(peak: float) -> Filter:
    """Return the filter that turns the sound down around what is over `peak`, of 1.

    It looks ahead, and moves nothing; what is below stays as it is, to the bit.
    """
    return (
        "alimiter",
        f"limit={peak:.6f}:level=0:latency=1:attack={ATTACK_MS}:release={RELEASE_MS}",
    )


def filtered(frames: Iterator[AudioFrame], filters: list[Filter]) -> Iterator[AudioFrame]:
    """Yield sound that went through filters."""
    graph, at = None, 0
    for frame in frames:
        if graph is None:
            graph = graph_like(frame, filters)
        frame.pts, frame.time_base = at, Fraction(1, frame.sample_rate)
        at += frame.samples
        graph.push(frame)
        yield from pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from pulled(graph)


def graph_like(like: AudioFrame, filters: list[Filter]) -> Graph:
    """Return a graph of filters that takes sound like a piece of it, and gives as much."""
    graph = Graph()
    before = graph.add_abuffer(format=FORMAT, sample_rate=like.sample_rate, layout=like.layout.name)
    for name, options in [*filters, ("aformat", f"sample_fmts={FORMAT}"), ("abuffersink", "")]:
        made = graph.add(name, options)
        before.link_to(made)
        before = made
    graph.configure()
    return graph


def pulled(graph: Graph) -> Iterator[AudioFrame]:
    """Yield the sound that a graph has ready."""
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            frame = graph.pull()
            if isinstance(frame, AudioFrame):
                yield frame
