"""HEVC: edges by x265, with parameter sets of their own beside the source's."""

from __future__ import annotations

from collections.abc import Iterator

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import (
    Edge,
    EdgePacket,
    Packet,
    Uncopyable,
    encoder,
    units_of,
)
from cutmv.media.engine.codecs.headers import hevc, nal
from cutmv.media.engine.codecs.headers.bits import Malformed
from cutmv.media.engine.timeline.pictures import Entry

#: x265's quality where the source's is not known, which FFmpeg's decoder does not tell.
CRF = 16.0


class Hevc:
    """See `base.Codec`."""

    after_edge = nal.with_lengths([hevc.END_OF_SEQUENCE_UNIT])

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._box: hevc.Hvcc | None = None
        self._sets = hevc.ParameterSets()
        self._of_edges: list[bytes] = []
        extradata = bytes(stream.codec_context.extradata or b"")
        try:
            if extradata[:1] == b"\1":
                self._box = hevc.read_hvcc(extradata)
                self._sets = self._sets.and_of(self._box.units)
            else:
                self._sets = self._sets.and_of(nal.of_start_codes(extradata))
        except Malformed as error:
            raise Uncopyable(f"its header can't be read ({error})") from error
        if self._box is not None and self._box.length_size != 4:
            raise Uncopyable("its packets have lengths of less than four bytes")

    def entry(self, packet: Packet) -> Entry:
        """At each random access point; at all but one kind pictures that lead it are left out."""
        if not packet.is_keyframe:
            return Entry.NONE
        units = units_of(packet, 4 if self._box else 0)
        self._sets = self._sets.and_of(units)
        kinds = {hevc.kind(unit) for unit in units}
        if hevc.IDR_N_LP in kinds:
            return Entry.CLEAN
        leading = (hevc.IDR_W_RADL, hevc.CRA, *range(hevc.BLA_FIRST, hevc.BLA_LAST + 1))
        return Entry.OPEN if kinds & set(leading) else Entry.ROUGH

    def data(self, packet: Packet) -> bytes:
        """See `base.Codec`."""
        return bytes(packet) if self._box else nal.with_lengths(units_of(packet, 0))

    def edge(self, crf: float | None) -> Edge:
        """See `base.Codec`."""
        edge = self._edge(crf)
        if edge.sets != self._of_edges:
            raise Uncopyable("its edges would differ from each other")
        return edge

    def header(self, *, edges: bool) -> bytes:
        """See `base.Codec`."""
        self._checked()
        sets = self._sets
        if edges:
            self._of_edges = self._edge(None).sets
            sets = sets.and_of(self._of_edges)
        fixed = self._box.fixed if self._box else hevc.fixed_part(self._sets.of(hevc.SPS)[0])
        others = self._box.others if self._box else []
        return hevc.write_hvcc(fixed, [*sets.units, *others])

    def _edge(self, crf: float | None) -> _Edge:
        return _Edge(self._stream, *self._checked(), crf)

    def _checked(self) -> tuple[hevc.Sps, hevc.Ids]:
        """Return the source's parameter set, and ids that are free. Raises Uncopyable."""
        units = self._sets.of(hevc.SPS)
        try:
            if not units or not self._sets.of(hevc.PPS):
                raise Uncopyable("it has no parameter sets")
            if len({hevc.read_sps(unit).sps_id for unit in units}) < len(units):
                raise Uncopyable("its parameter sets change")
            ids = self._sets.free_ids()
            if ids is None:
                raise Uncopyable("its parameter sets leave no room for others")
            return hevc.read_sps(units[0]), ids
        except Malformed as error:
            raise Uncopyable(f"its header can't be read ({error})") from error


class _Edge:
    def __init__(
        self, stream: VideoStream, source: hevc.Sps, ids: hevc.Ids, crf: float | None
    ) -> None:
        self._source, self._ids = source, ids
        parameters = ["log-level=error", "bframes=0", "keyint=-1", "scenecut=0", "info=0", "ref=1"]
        parameters += ["repeat-headers=0", "open-gop=0", "weightp=0", "rc-lookahead=5"]
        options = {
            "preset": "veryfast",
            "crf": f"{CRF if crf is None else crf:.2f}",
            "x265-params": ":".join(parameters),
        }
        self._context = encoder(stream, "libx265", options)
        units = list(nal.of_start_codes(bytes(self._context.extradata or b"")))
        kept = [unit for unit in units if hevc.kind(unit) in hevc.PARAMETER_SETS]
        self.sets = [self._own(unit) for unit in kept]

    def encode(self, frame: VideoFrame | None) -> Iterator[EdgePacket]:
        """See `base.Edge`."""
        for packet in self._context.encode(frame):
            units = [
                self._own(unit)
                for unit in nal.of_start_codes(bytes(packet))
                if hevc.kind(unit) <= hevc.VCL_LAST
            ]
            if packet.pts is not None:
                yield EdgePacket(packet.pts, packet.is_keyframe, nal.with_lengths(units))

    def _own(self, unit: bytes) -> bytes:
        try:
            return self._ids.given_to(unit, self._source)
        except Malformed as error:
            raise Uncopyable(f"its encoder's header can't be read ({error})") from error
