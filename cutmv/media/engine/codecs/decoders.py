"""The decoders that a source may be read with: those of what people bring, of FFmpeg's 500.

A decoder of a game of 1995 is code that nobody needs here and few look after.
"""

from collections.abc import Iterable

#: Decoders of pictures, by FFmpeg's names: those of cameras, phones, browsers, editors and
#: recorders of the screen, and of the AVI files of twenty years.
OF_PICTURES = (
    "h264", "hevc", "vvc", "av1", "libdav1d", "libaom-av1", "vp8", "vp9", "libvpx", "libvpx-vp9",
    "theora", "mpeg1video", "mpeg2video", "mpegvideo", "mpeg4", "msmpeg4v1", "msmpeg4v2",
    "msmpeg4", "h261", "h263", "h263p", "h263i", "wmv1", "wmv2", "wmv3", "vc1", "flv", "prores",
    "prores_raw", "dnxhd", "cfhd", "hap", "dvvideo", "mjpeg", "mjpegb", "jpeg2000", "png", "tiff",
    "bmp", "qtrle", "rpza", "smc", "svq1", "svq3", "cinepak", "ffv1", "huffyuv", "ffvhuff",
    "utvideo", "magicyuv", "lagarith", "rawvideo", "v210", "v308", "v408", "v410", "r10k", "r210",
    "avrp", "yuv4", "msrle", "msvideo1", "zmbv", "tscc2", "camtasia", "flashsv", "flashsv2",
    "speedhq",
)  # fmt: skip
#: And of sound.
OF_SOUND = (
    "aac", "aac_fixed", "aac_latm", "mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float",
    "ac3", "ac3_fixed", "eac3", "dca", "truehd", "mlp", "opus", "libopus", "vorbis", "libvorbis",
    "flac", "alac", "wavpack", "tta", "wmav1", "wmav2", "wmapro", "wmalossless", "s302m", "amrnb",
    "amrwb", "libopencore_amrnb", "libopencore_amrwb", "gsm", "gsm_ms", "speex", "qdm2",
    "nellymoser", "dvaudio", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_swf",
    "adpcm_yamaha", "g722", "g726", "mace3", "mace6",
)  # fmt: skip
#: And of texts, which are copied; the libraries decode some to know what they are.
OF_TEXTS = (
    "mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text", "dvbsub", "dvdsub", "pgssub",
    "cc_dec",
)  # fmt: skip

#: All of them; what is PCM is as simple as it can be.
DECODERS = frozenset((*OF_PICTURES, *OF_SOUND, *OF_TEXTS))
PCM = "pcm_"


def whitelist(known: Iterable[str]) -> str:
    """The decoders of a build that `known` names, as FFmpeg's option of that name has them."""
    return ",".join(sorted(name for name in known if is_allowed(name)))


def is_allowed(name: str) -> bool:
    """Say whether a source may be read with the decoder of this name."""
    return name in DECODERS or name.startswith(PCM)
