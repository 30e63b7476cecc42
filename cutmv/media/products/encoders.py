"""The encoders of films, and what each is told at a quality. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Encoder:
    """An encoder by FFmpeg's name, and what it is told, as its command line has it.

    `{q}` in its `settings` is the quality on its own scale: `usual` is x264's CRF 20 there, and
    `step` one step of that.
    """

    name: str
    settings: str
    usual: float = 20.0
    step: float = 1.0

    def arguments(self, crf: int) -> tuple[str, ...]:
        """What FFmpeg is told, at a quality on x264's scale."""
        own = round(self.usual + self.step * (crf - 20))
        return ("-c:v", self.name, *self.settings.format(q=own).split())


#: In a third of the time that the default speed takes.
X264 = Encoder("libx264", "-preset veryfast -crf {q}")
VP9 = Encoder(
    "libvpx-vp9", "-deadline good -cpu-used 5 -row-mt 1 -b:v 0 -crf {q}", usual=24.0, step=1.5
)
