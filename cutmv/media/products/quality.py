"""At what quality a film's picture is encoded: on x264's scale, by that of its source. Pure."""

from dataclasses import dataclass
from math import log2

from cutmv.media.info import MediaInfo, VideoStream
from cutmv.media.products.shapes import size_of
from cutmv.media.products.spec import OutputSpec

#: The finest and the coarsest quality, and the usual one, of a source that tells nothing.
FINEST, COARSEST, USUAL = 16, 24, 20
#: The CRF by which x264 would have made the source: so much for a step of its mean quantizer, less
#: for twice its bits a pixel, since x264 quantizes more coarsely what takes many. Fitted to 34
#: files of seven kinds of pictures, for which it is right to 1.5 (root mean square).
BY_QUANTIZER, BY_BITS, AT_ZERO = 0.65, 1.5, 2.2
#: A film is so much finer than its source: that costs 1 to 2 dB of what that has kept, whatever its
#: quality is.
FINER = 3.0
#: By how much a picture is finer when it is half as wide, since quantization is averaged away: half
#: of what its PSNR tells, since what is coarse in large stays.
FINER_BY_HALF = 3.0
#: Bits a pixel of the usual quality, in H.264. An estimate by bits is never coarser than the usual,
#: since a picture that holds still takes few; twice the bits are so much finer.
USUAL_BITS, FINER_BY_BITS = 0.1, 1.5
#: The bits that a codec takes for what H.264 takes one for, about. Codecs of single pictures, and
#: those without loss, take many more.
BITS = {"h264": 1.0, "hevc": 0.6, "vp9": 0.65, "av1": 0.5, "vp8": 1.1, "mpeg2video": 1.8,
        "mpeg4": 1.3}  # fmt: skip
BITS_OF_OTHERS = 4.0


@dataclass(frozen=True)
class Quality:
    """A quality as x264's CRF, and why it is that, as the end of a sentence."""

    crf: int
    why: str

    @property
    def told(self) -> str:
        """The quality and its reason."""
        return f"CRF {self.crf}: {self.why}"


def quality_of(info: MediaInfo, video: VideoStream, spec: OutputSpec) -> Quality:
    """The quality of a film of this source, the same for all that is made of it in one shape."""
    bits = _bits(info, video)
    if video.quantizer is not None:
        bits = bits or USUAL_BITS
        own = BY_QUANTIZER * video.quantizer - BY_BITS * log2(bits) + AT_ZERO
        crf = own - FINER - FINER_BY_HALF * _halved(video, spec)
        seen = f"mean quantizer {video.quantizer:.3g}, {bits:.2g} bits a pixel"
        why = f"the source is as x264 makes one at CRF {own:.0f} ({seen})"
    elif bits is not None:
        crf = min(USUAL, USUAL - FINER_BY_BITS * log2(bits / USUAL_BITS))
        why = f"the source has {bits:.2g} bits a pixel, by what they are in H.264"
    else:
        crf, why = USUAL, "the source does not tell its own"
    return Quality(round(min(max(crf, FINEST), COARSEST)) - spec.finer, why)


def _halved(video: VideoStream, spec: OutputSpec) -> float:
    """How often the width of a picture is halved until it is in the output's shape."""
    width, height = size_of(video, spec, video.width)
    ratios = (video.width / width, video.height / height)
    return max(0.0, log2(min(ratios) if spec.fit == "crop" else max(ratios)))


def _bits(info: MediaInfo, video: VideoStream) -> float | None:
    """The bits that a pixel would have in H.264, about; of all the file has, as its size tells."""
    pixels = video.coded_width * video.coded_height * float(video.frame_rate) * info.duration_s
    if not info.size_bytes or pixels <= 0:
        return None
    return 8 * info.size_bytes / pixels / BITS.get(video.codec, BITS_OF_OTHERS)
