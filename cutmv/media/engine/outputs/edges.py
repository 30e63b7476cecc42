"""Encodes the edges of a clip, in a thread of its own: meanwhile others read sound, and copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain, islice
from queue import SimpleQueue
from threading import Event, Thread

from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Edge, EdgePacket, Packet
from cutmv.media.engine.source.clip import Clip
from cutmv.media.engine.source.quantizers import mean_quantizer
from cutmv.media.engine.timeline.segments import Encoded

#: Pictures at the start of a clip whose quantizers tell its quality.
LOOKED_AT = 4
#: The quality at edges, so much below the mean quantizer of the source: that leaves a step of under
#: 1 dB where a copied picture follows. And the least.
BELOW, LEAST = 8.0, 1.0
#: Bytes of a source's pictures at most that are encoded before they are asked for.
AHEAD_BYTES = 64 * 1_048_576


class Edges:
    """The packets of a clip's edges; to be closed. Made when the codec's header is."""

    def __init__(self, clip: Clip, edges: Sequence[Encoded]) -> None:
        self._clip, self._edges = clip, edges
        self._queues = [SimpleQueue[EdgePacket | Exception | None]() for _ in edges]
        self._closed = Event()
        self._thread: Thread | None = None
        if 0 < sum(picture.size for edge in edges for picture in edge.pictures) <= AHEAD_BYTES:
            self._thread = Thread(target=self._run)
            self._thread.start()

    def packets(self, edge: Encoded) -> Iterator[EdgePacket]:
        """Yield the packets of an edge, in the order of their decoding.

        Raises Uncopyable, SourceError.
        """
        if self._thread is None:
            yield from self._when_asked.packets(edge)
            return
        queue = self._queues[self._edges.index(edge)]
        while (item := queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    @cached_property
    def _when_asked(self) -> _Encoding:
        return _Encoding(self._clip)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            with self._clip.apart() as clip:
                encoding = _Encoding(clip)
                for edge, queue in zip(self._edges, self._queues, strict=True):
                    for packet in encoding.packets(edge):
                        if self._closed.is_set():
                            return
                        queue.put(packet)
                    queue.put(None)
        except Exception as error:  # whoever asks for packets gets it
            for queue in self._queues:
                queue.put(error)


class _Encoding:
    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        packets = list(islice(clip.packets_from(0), LOOKED_AT))
        pool = ThreadPoolExecutor(1)
        self._crf = pool.submit(_crf, clip.stream, packets)
        pool.shutdown(wait=False)

    def packets(self, edge: Encoded) -> Iterator[EdgePacket]:
        encoder: Edge | None = None
        for frame in chain(self._clip.decoded(edge.pictures), (None,)):
            if encoder is None:  # decoding has begun, and its quality is looked at meanwhile
                encoder = self._clip.window.codec.edge(self._crf.result())
            yield from encoder.encode(frame)


def _crf(stream: VideoStream, packets: Sequence[Packet]) -> float | None:
    quantizer = mean_quantizer(stream, packets)
    return None if quantizer is None else max(LEAST, quantizer - BELOW)
