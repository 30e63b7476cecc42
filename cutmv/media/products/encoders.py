"""The encoders of films, and what each is told at a quality. Pure."""

from dataclasses import dataclass


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

    def arguments(self, crf: int) -> tuple[str, ...]:
        """What FFmpeg is told, at a quality on x264's scale."""
        own = round(self.usual + self.step * (crf - 20))
        return ("-c:v", self.name, *self.settings.format(q=own).split())


#: In a third of the time that the default speed takes.
X264 = Encoder("libx264", "-preset veryfast -crf {q}")
VP9 = Encoder(
    "libvpx-vp9", "-deadline good -cpu-used 5 -row-mt 1 -b:v 0 -crf {q}", usual=24.0, step=1.5
)
#: Those that encode H.264 by hardware at a constant quality, the first that works is taken: of
#: NVIDIA, Intel, Apple, AMD, and what drives the graphics of Linux. V4L2's has bit rates alone.
HARDWARE = (
    Encoder("h264_nvenc", "-preset p5 -rc vbr -cq {q} -b:v 0 -spatial-aq 1 -g 250"),
    Encoder("h264_qsv", "-preset medium -global_quality {q} -g 250", filters="format=nv12"),
    Encoder("h264_videotoolbox", "-q:v {q} -g 250", usual=65.0, step=-2.0),
    Encoder("h264_amf", "-rc cqp -qp_i {q} -qp_p {q} -qp_b {q} -g 250", filters="format=nv12"),
    Encoder(
        "h264_vaapi",
        "-vaapi_device /dev/dri/renderD128 -rc_mode CQP -qp {q} -g 250",
        filters="format=nv12,hwupload",
    ),
)
