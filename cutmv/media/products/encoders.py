"""The encoders of films, and what each is told at a quality. Pure."""

from dataclasses import dataclass
from fractions import Fraction

#: Seconds from one key picture to the next, at most: players seek by these, platforms ask for as
#: much, and the last group of each output and part is decoded to check it.
GROUP_S = 2


@dataclass(frozen=True)
class Encoder:
    """An encoder by FFmpeg's name, and what it is told, as its command line has it.

    `{q}` in its `settings` is the quality on its own scale: `usual` is x264's CRF 20 there, and
    `step` one step of that. `filters` bring it the pictures.
    """

    name: str
    settings: str
    usual: float = 20.0
    step: float = 1.0
    filters: str = ""

    def arguments(self, crf: int, rate: Fraction) -> tuple[str, ...]:
        """What FFmpeg is told, at a quality on x264's scale, for so many pictures a second."""
        own = round(self.usual + self.step * (crf - 20))
        group = max(1, round(GROUP_S * rate))
        return ("-c:v", self.name, *self.settings.format(q=own).split(), "-g", str(group))


#: With the macroblock tree `superfast` makes as good a picture as `veryfast`, by 0.2 dB of PSNR and
#: SSIM, of 1.05 to 1.08 of the bytes in 0.6 of the time, on an animation, a street and on noise.
X264 = Encoder("libx264", "-preset superfast -x264-params mbtree=1:rc-lookahead=10 -crf {q}")
VP9 = Encoder(
    "libvpx-vp9", "-deadline good -cpu-used 5 -row-mt 1 -b:v 0 -crf {q}", usual=24.0, step=1.5
)
#: Those that encode H.264 by hardware at a constant quality, the first that works is taken: of
#: NVIDIA, Intel, Apple, AMD, and what drives the graphics of Linux. V4L2's has bit rates alone.
HARDWARE = (
    Encoder("h264_nvenc", "-preset p5 -rc vbr -cq {q} -b:v 0 -spatial-aq 1"),
    Encoder("h264_qsv", "-preset medium -global_quality {q}", filters="format=nv12"),
    Encoder("h264_videotoolbox", "-q:v {q}", usual=65.0, step=-2.0),
    Encoder("h264_amf", "-rc cqp -qp_i {q} -qp_p {q} -qp_b {q}", filters="format=nv12"),
    Encoder(
        "h264_vaapi",
        "-vaapi_device /dev/dri/renderD128 -rc_mode CQP -qp {q}",
        filters="format=nv12,hwupload",
    ),
)
