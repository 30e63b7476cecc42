"""What each picture codec needs so that its packets can be copied beside encoded ones."""

from __future__ import annotations

from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Codec, Edge, Uncopyable
from cutmv.media.engine.codecs.ffv1 import Ffv1
from cutmv.media.engine.codecs.h264 import H264
from cutmv.media.engine.codecs.hevc import Hevc
from cutmv.media.engine.codecs.intra import INTRA, Intra
from cutmv.media.engine.codecs.opaque import Opaque
from cutmv.media.engine.codecs.plain import PLAIN, Plain

__all__ = ["Codec", "Edge", "Opaque", "Uncopyable", "codec_of"]


def codec_of(stream: VideoStream) -> Codec:
    """Return what knows the stream's codec."""
    name = stream.codec_context.name
    try:
        if name == "h264":
            return H264(stream)
        if name == "hevc":
            return Hevc(stream)
    except Uncopyable as reason:
        return Opaque(str(reason))
    if name == "ffv1":
        return Ffv1(stream)
    if name in INTRA:
        return Intra(stream)
    if name in PLAIN:
        return Plain(stream)
    return Opaque(f"its codec, {name}, is not one that we copy in parts")
