"""What to make of each clip, and the words by which people are asked for it.

The options of `cutmv cut`, the fields of the API and the form of the page are all made of
`OPTIONS`, which are the fields of `Wanted`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from cutmv.media import LUFS, Aspect, Copying, EncodedBy, Fit, Loop, Loudness, Sound, presets

#: How an option is asked for: some of its values, one or none of them, words of any kind, yes or
#: no, a number, or a point of the picture.
Form = Literal["many", "one", "words", "flag", "number", "point"]


@dataclass(frozen=True)
class Asked:
    """What is said of an option: its title on the page, what it does, the titles of its values.

    A number is `least` at least.
    """

    title: str
    told: str
    values: Mapping[str, str] = field(default_factory=dict)
    least: int | None = None


_SHAPES = {"source": "As it is", "16:9": "16:9", "9:16": "9:16", "1:1": "1:1", "4:5": "4:5"}
_PRESETS = {name: each.title for name, each in presets().items()}
_LUFS = {name: f"{name.capitalize()}, {lufs:g} LUFS" for name, lufs in LUFS.items()}
_SOUNDS = {"m4a": "M4A", "mp3": "MP3", "wav": "WAV", "flac": "FLAC"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to make of each clip: it in each shape, by presets, as a GIF, a still, a loop, sound."""

    aspects: Annotated[
        tuple[Aspect, ...],
        Asked(
            "Shapes",
            "The shapes to cut each clip in: its own, unless a preset, a canvas or sound is asked"
            " for.",
            _SHAPES,
        ),
    ] = ("source",)
    presets: Annotated[
        tuple[str, ...],
        Asked("For a platform", "Make each clip as a platform takes it.", _PRESETS),
    ] = ()
    fit: Annotated[
        Fit | None,
        Asked(
            "To fill the shape",
            "How a picture of another shape is made to fit; else it is cropped, or as a preset has"
            " it.",
        ),
    ] = None
    centre: Annotated[
        tuple[float, float],
        Asked(
            "Middle of a crop",
            "What a crop keeps in its middle, in parts of the picture from its left and top.",
        ),
    ] = (0.5, 0.5)
    remove_bars: Annotated[
        bool,
        Asked(
            "Remove black bars",
            "Remove the black bars around the picture, where they are sure, before it is shaped.",
        ),
    ] = False
    fade_s: Annotated[
        float,
        Asked("Fade", "Fade picture and sound in and out, each in so many seconds.", least=0),
    ] = 0.0
    loudness: Annotated[
        Loudness | None,
        Asked(
            "Loudness",
            "How loud the sound is made, by EBU R 128: for music services (-14 LUFS), podcasts"
            " (-16) or broadcast (-23); else it is as loud as it was.",
            _LUFS,
        ),
    ] = None
    gif: Annotated[bool, Asked("GIF", "Also make an animated GIF of each clip.")] = False
    gif_max_bytes: Annotated[
        int | None,
        Asked(
            "GIF's largest size",
            "Make the GIF, and no larger than so many bytes: of fewer colours, smaller, with fewer"
            " pictures.",
            least=1,
        ),
    ] = None
    webp: Annotated[bool, Asked("WebP", "Also make an animated WebP of each clip.")] = False
    still: Annotated[bool, Asked("Still", "Also make a still of each clip: its first picture.")] = (
        False
    )
    best: Annotated[
        bool,
        Asked(
            "Best still",
            "Make the still, and of the sharpest picture that is not black, not of the first.",
        ),
    ] = False
    canvas: Annotated[
        Loop | None,
        Asked(
            "Spotify Canvas",
            "Make a silent loop of 3 to 8 s for Spotify, and how it goes round.",
        ),
    ] = None
    sounds: Annotated[
        tuple[Sound, ...],
        Asked("Sound alone", "Make the sound alone, copied into an M4A or encoded.", _SOUNDS),
    ] = ()
    join: Annotated[
        bool,
        Asked("One film", "Join the clips into one film, in their order, and make none of each."),
    ] = False
    audio: Annotated[
        tuple[str, ...],
        Asked(
            "Sound tracks",
            "The sound tracks to keep, by number from 1 or by language (deu), all or none; else the"
            " one that a player plays.",
        ),
    ] = ()
    exact_copy: Annotated[
        Copying,
        Asked(
            "Exact copies",
            "Copy the source's own frames into films, and encode only the edges: never, where that"
            " can be, or always, so that a film which can't have them is refused, and sound is"
            " copied that browsers are silent at.",
            {"auto": "Where they can be", "never": "Never", "always": "Always"},
        ),
    ] = "auto"
    encoder: Annotated[
        EncodedBy,
        Asked(
            "Encoder",
            "Encode pictures by software, or by the hardware that is there; what that can't encode,"
            " or fails at, software encodes.",
        ),
    ] = "software"


def usual_aspects(
    presets: Sequence[str], canvas: Loop | None, sounds: Sequence[Sound]
) -> tuple[Aspect, ...]:
    """The shapes that are made where nobody said which: the source's, unless others are wanted."""
    return () if presets or canvas or sounds else ("source",)


@dataclass(frozen=True)
class Option:
    """One field of `Wanted`, as people are asked for it: its type, its default, what is said."""

    name: str
    hint: Any
    form: Form
    default: Any
    asked: Asked

    @property
    def values(self) -> Mapping[str, str]:
        """The titles of the values that it may have."""
        return self.asked.values or {value: value.capitalize() for value in _literals(self.hint)}


def _literals(hint: Any) -> tuple[str, ...]:
    """The values of a literal type, or of one that may be missing."""
    of = next((each for each in (hint, *get_args(hint)) if get_origin(each) is Literal), None)
    return get_args(of)


def _form(hint: Any, asked: Asked) -> Form:
    if get_origin(hint) is tuple:
        if float in get_args(hint):
            return "point"
        return "many" if asked.values else "words"
    if hint is bool:
        return "flag"
    return "one" if _literals(hint) else "number"


def _options() -> dict[str, Option]:
    hints, found = get_type_hints(Wanted, include_extras=True), {}
    for each in fields(Wanted):
        hint, asked = get_args(hints[each.name])
        found[each.name] = Option(each.name, hint, _form(hint, asked), each.default, asked)
    return found


#: The fields of `Wanted`, by name.
OPTIONS = _options()
