"""One kind of output, as people ask for it."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from cutmv.media.engine.protocol import Copying

Kind = Literal["cutdown", "gif", "webp", "still", "canvas", "m4a", "mp3", "wav", "flac"]
Aspect = Literal["16:9", "9:16", "1:1", "4:5", "source"]
Sound = Literal["m4a", "mp3", "wav", "flac"]
Fit = Literal["crop", "pad", "blur"]
Loop = Literal["dissolve", "rebound", "hard"]
Loudness = Literal["streaming", "podcast", "broadcast"]
EncodedBy = Literal["software", "hardware"]

#: The values that fields of an `OutputSpec` may have.
CHOICES: dict[str, tuple[str | None, ...]] = {
    "kind": get_args(Kind),
    "aspect": get_args(Aspect),
    "fit": get_args(Fit),
    "loop": get_args(Loop),
    "loudness": (None, *get_args(Loudness)),
    "exact_copy": get_args(Copying),
    "encoded_by": get_args(EncodedBy),
}

#: The integrated loudness in LUFS (EBU R 128) that each is played at: what music services bring
#: songs to, what podcasts have, and what European broadcasters take.
LUFS: dict[Loudness, float] = {"streaming": -14.0, "podcast": -16.0, "broadcast": -23.0}

#: Width and height in pixels of each shape but the source's own.
SIZES: dict[Aspect, tuple[int, int]] = {
    "16:9": (1280, 720),
    "9:16": (1080, 1920),
    "1:1": (1080, 1080),
    "4:5": (1080, 1350),
}
#: The kinds that are the sound alone; an M4A has the source's packets where it can.
SOUNDS: tuple[Kind, ...] = ("m4a", "mp3", "wav", "flac")
#: The kinds that are animations without sound.
ANIMATIONS: tuple[Kind, ...] = ("gif", "webp")
#: The kinds that are films.
FILMS: tuple[Kind, ...] = ("cutdown", "canvas")


@dataclass(frozen=True)
class OutputSpec:
    """One kind of output, in a shape: an MP4 ("cutdown"), a GIF or WebP, a JPEG still, a silent
    loop ("canvas"), or the sound alone.

    `fit` says how a picture of another shape is made to fit: "crop" fills the frame and loses
    the edges, "pad" shows all of it between black bars, "blur" before its own blurred enlargement.
    `centre` is what a crop keeps in its middle, as far as the picture goes: parts of its width
    and height. Picture and sound fade in and out in `fade_s` seconds each. `loop` says how a
    canvas goes round; the still is the clip's first picture, or the `best` of its first seconds.
    `preset` is the name of the one it is made by, which bounds the length (s) and the pictures a
    second, and may have a size of its own. A GIF or WebP has `max_bytes` at most. The sound is as
    loud as it was, or has a `loudness`; a preset may ask for a rate in `hertz`, and two channels at
    most, for no more than `bit_rate` bits a second of picture, and for one that is `finer` than is
    usual, by so many steps of x264's CRF. `exact_copy` says whether the
    source's packets are copied into a cutdown: wherever they can be, never, or always, so that one
    where they can't be is refused. With `remove_bars` the picture is what lies inside its
    black bars. `audio` are the sound tracks that it has, by number from 1 or by language,
    "all" or "none"; without a wish it is what a player plays. It is one film of
    many clips where these are to `join`. A film that is encoded whole is `encoded_by` software, or
    by hardware where that can be.
    """

    kind: Kind
    aspect: Aspect
    fit: Fit
    centre: tuple[float, float] = (0.5, 0.5)
    fade_s: float = 0.0
    loop: Loop = "dissolve"
    best: bool = False
    preset: str | None = None
    size: tuple[int, int] | None = None
    longest_s: float | None = None
    fastest: int | None = None
    max_bytes: int | None = None
    loudness: Loudness | None = None
    hertz: int | None = None
    bit_rate: int | None = None
    finer: int = 0
    exact_copy: Copying = "auto"
    remove_bars: bool = False
    audio: tuple[str, ...] = ()
    join: bool = False
    encoded_by: EncodedBy = "software"

    def to_dict(self) -> dict[str, Any]:
        """This as JSON has it, without what is as usual.

        So a version before makes what it knows, and refuses what it does not.
        """
        usual = {each.name: each.default for each in fields(self)}
        return {name: told for name, told in asdict(self).items() if told != usual[name]}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; what an earlier version did not know has its default.

        Raises ValueError, TypeError, AttributeError for what no such version has made.
        """
        for name, values in CHOICES.items():
            if name in plain and plain[name] not in values:
                raise ValueError(f"{name} is none of {', '.join(map(str, values))}")
        size = plain.get("size")
        pairs = {"centre": tuple(plain.get("centre", (0.5, 0.5))), "size": size and tuple(size)}
        return cls(**{**plain, **pairs, "audio": tuple(plain.get("audio", ()))})

    @property
    def named(self) -> str:
        """What it is called in the name of its file, and to people."""
        if self.preset:
            return self.preset
        if self.kind == "cutdown":
            return self.aspect
        return "sound" if self.kind in SOUNDS else self.kind
