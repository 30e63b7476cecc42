"""H.264: edges by x264, with parameter sets of their own beside the source's."""

from __future__ import annotations

from collections.abc import Iterator

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import (
    TOP_FIRST,
    Edge,
    EdgePacket,
    Packet,
    Uncopyable,
    encoder,
    units_of,
)
from cutmv.media.engine.codecs.headers import nal
from cutmv.media.engine.codecs.headers.bits import Malformed
from cutmv.media.engine.codecs.headers.h264 import (
    IDR,
    SLICE,
    ParameterSets,
    read_avcc,
    read_sps,
    with_reordering,
    write_avcc,
)
from cutmv.media.engine.timeline.pictures import Entry

#: x264's names of the profiles that it writes, by `profile_idc`.
PROFILES = {66: "baseline", 77: "main", 100: "high", 110: "high10", 122: "high422",
            244: "high444"}  # fmt: skip
#: x264's speed. Of all its presets the fastest spoils the edges' pictures least, in a third of the
#: time, for twice the bytes.
PRESET = "ultrafast"
#: x264's quality where the source's is not known.
CRF = 16.0


class H264:
    """See `base.Codec`."""

    after_edge = b""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._length_size = 0
        self._sets, self._of_edges = ParameterSets(), ParameterSets()
        extradata = bytes(stream.codec_context.extradata or b"")
        try:
            if extradata[:1] == b"\1":
                self._sets, self._length_size = read_avcc(extradata)
            else:
                self._sets = self._sets.and_of(nal.of_start_codes(extradata))
        except Malformed as error:
            raise Uncopyable(f"its header can't be read ({error})") from error

    def entry(self, packet: Packet) -> Entry:
        """Exactly at an IDR picture; a recovery point does not say which pictures are whole."""
        if not packet.is_keyframe:
            return Entry.NONE
        units = units_of(packet, self._length_size)
        self._sets = self._sets.and_of(units)
        return Entry.CLEAN if any(unit[0] & 0x1F == IDR for unit in units) else Entry.ROUGH

    def data(self, packet: Packet) -> bytes:
        """See `base.Codec`."""
        return bytes(packet) if self._length_size else nal.with_lengths(units_of(packet, 0))

    def edge(self, crf: float | None) -> Edge:
        """See `base.Codec`."""
        edge = self._edge(crf)
        if edge.sets != self._of_edges:
            raise Uncopyable("its edges would differ from each other")
        return edge

    def header(self, *, edges: bool) -> bytes:
        """See `base.Codec`."""
        sets = self._checked()
        if edges:
            self._of_edges = self._edge(None).sets
            sets = sets.and_of([*self._of_edges.sps, *self._of_edges.pps])
        return write_avcc(sets, self._length_size or 4)

    def _edge(self, crf: float | None) -> _Edge:
        return _Edge(self._stream, self._checked(), self._length_size or 4, crf)

    def _checked(self) -> ParameterSets:
        """Return the source's parameter sets. Raises Uncopyable where one id stands for two."""
        sets = self._sets
        if not sets.sps or not sets.pps:
            raise Uncopyable("it has no parameter sets")
        try:
            if len({read_sps(unit).sps_id for unit in sets.sps}) < len(sets.sps):
                raise Uncopyable("its parameter sets change")
        except Malformed as error:
            raise Uncopyable(f"its header can't be read ({error})") from error
        return sets


class _Edge:
    """Encodes without pictures that are shown later than others, which need no such DTS."""

    def __init__(
        self,
        stream: VideoStream,
        source: ParameterSets,
        length_size: int,
        crf: float | None,
    ) -> None:
        self._length_size = length_size
        first = read_sps(source.sps[0])
        free = source.free_id()
        if free is None or first.profile not in PROFILES:
            raise Uncopyable("its parameter sets leave no room for others")
        parameters = [f"sps-id={free}", "keyint=infinite", "scenecut=0", "bframes=0", "ref=1"]
        # Headers must not follow from what is encoded, since all edges share them.
        parameters += ["weightp=0", "stitchable=1", "deblock=0,0"]
        if not first.progressive:
            top_first = stream.codec_context.field_order in TOP_FIRST
            parameters += ["tff=1" if top_first else "bff=1"]
        options = {
            "preset": PRESET,
            "crf": f"{CRF if crf is None else crf:.2f}",
            "profile": PROFILES[first.profile],
            "x264-params": ":".join(parameters),
        }
        self._context = encoder(stream, "libx264", options)
        own = ParameterSets().and_of(nal.of_start_codes(bytes(self._context.extradata or b"")))
        try:
            sps = [with_reordering(unit, first.reordering, first.level) for unit in own.sps]
        except Malformed as error:
            raise Uncopyable(f"its encoder's header can't be read ({error})") from error
        self.sets = ParameterSets(tuple(sps), own.pps)

    def encode(self, frame: VideoFrame | None) -> Iterator[EdgePacket]:
        """See `base.Edge`."""
        for packet in self._context.encode(frame):
            units = [
                unit for unit in nal.of_start_codes(bytes(packet)) if unit[0] & 0x1F in (SLICE, IDR)
            ]
            if packet.pts is not None:
                data = nal.with_lengths(units, self._length_size)
                yield EdgePacket(packet.pts, packet.is_keyframe, data)
