"""The options of `cutmv cut` that say what to make of each clip."""

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from itertools import zip_longest
from typing import Any

import click

from cutmv.jobs import Wanted
from cutmv.media import LUFS, Kind, presets

_SOUNDS: dict[str, Kind] = {"copy": "m4a", "mp3": "mp3", "wav": "wav", "flac": "flac"}


class WithProducts(click.Command):
    """A command whose options may be given with a value or without: what follows may be INPUT."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give an option its usual value where what follows is none of its values."""
        usual = {"--still": "first", "--canvas": "dissolve"}
        values = {name: _choices(self, name) for name in usual}
        given = [
            f"{arg}={usual[arg]}" if arg in usual and after not in values[arg] else arg
            for arg, after in zip_longest(args, args[1:])
        ]
        return super().parse_args(ctx, given)


def _choices(command: click.Command, name: str) -> tuple[Any, ...]:
    types = (option.type for option in command.params if name in option.opts)
    return next((tuple(each.choices) for each in types if isinstance(each, click.Choice)), ())


def _centre(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[float, float]:
    """Two parts of the picture, of "X,Y"."""
    try:
        across, down = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} must be X,Y, like 0.3,0.5.") from None
    if not (0 <= across <= 1 and 0 <= down <= 1):
        raise click.BadParameter(f"{value!r} must be two parts of the picture, from 0 to 1.")
    return across, down


def _list_presets(ctx: click.Context, _param: Any, asked: bool) -> None:
    if asked:
        for name, preset in presets().items():
            click.echo(f"{name:8} {preset.title}")
        ctx.exit()


_OPTIONS = (
    click.option(
        "--aspect",
        "aspects",
        multiple=True,
        show_default="source, unless a preset, a canvas or sound is asked for",
        type=click.Choice(["source", "16:9", "9:16", "1:1", "4:5"]),
        help="A shape to cut each clip in; may be repeated.",
    ),
    click.option(
        "--fit",
        type=click.Choice(["crop", "pad", "blur"]),
        show_default="crop, or as a preset has it",
        help="How a picture of another shape is made to fit.",
    ),
    click.option(
        "--centre",
        metavar="X,Y",
        callback=_centre,
        default="0.5,0.5",
        show_default=True,
        help="What a crop keeps in its middle, in parts of the picture from its left and top.",
    ),
    click.option(
        "--fade",
        "fade_s",
        type=click.FloatRange(min=0),
        default=0.0,
        metavar="SECONDS",
        help="Fade picture and sound in and out. Such a clip is encoded.",
    ),
    click.option(
        "--preset",
        "presets",
        multiple=True,
        metavar="NAME",
        type=click.Choice(list(presets())),
        help="Make each clip as a platform takes it; may be repeated. See --list-presets.",
    ),
    click.option(
        "--list-presets",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_list_presets,
        help="List the presets and end.",
    ),
    click.option("--gif", is_flag=True, help="Also make an animated GIF of each clip."),
    click.option(
        "--gif-max-bytes",
        type=click.IntRange(min=1),
        metavar="BYTES",
        help="Make the GIF, and no larger: of fewer colours, smaller, with fewer pictures.",
    ),
    click.option("--webp", is_flag=True, help="Also make an animated WebP of each clip."),
    click.option(
        "--still",
        is_flag=False,
        flag_value="first",
        type=click.Choice(["first", "best"]),
        help="Also make a still: the clip's first picture, or the sharpest that is not black.",
    ),
    click.option(
        "--canvas",
        is_flag=False,
        flag_value="dissolve",
        type=click.Choice(["dissolve", "rebound", "hard"]),
        help="Make a silent loop of 3 to 8 s for Spotify, and how it goes round.",
    ),
    click.option(
        "--sound",
        "sounds",
        multiple=True,
        type=click.Choice(list(_SOUNDS)),
        help="Make the sound alone, copied into an M4A or encoded; may be repeated.",
    ),
    click.option(
        "--loudness",
        type=click.Choice(list(LUFS)),
        show_default="as it is",
        help="How loud the sound is made, by EBU R 128: for music services (-14 LUFS), podcasts"
        " (-16) or broadcast (-23).",
    ),
    click.option(
        "--exact-copy",
        type=click.Choice(["never", "auto", "always"]),
        default="auto",
        show_default=True,
        help="Copy INPUT's own frames into films, and encode only the edges: never, where that can"
        " be, or always, so that a film which can't have them is refused.",
    ),
)


def product_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which is given them as one argument, `wanted`."""

    @wraps(command)
    def with_wanted(**options: Any) -> Any:
        names = {field.name for field in fields(Wanted)} & options.keys()
        return command(wanted=_wanted(**{name: options.pop(name) for name in names}), **options)

    for option in reversed(_OPTIONS):
        with_wanted = option(with_wanted)
    return with_wanted


def _wanted(
    *, aspects: tuple[Any, ...], sounds: tuple[str, ...], still: str, **rest: Any
) -> Wanted:
    alone = rest["presets"] or rest["canvas"] or sounds
    return Wanted(
        aspects=aspects or (() if alone else ("source",)),
        sounds=tuple(_SOUNDS[name] for name in sounds),
        still=still is not None,
        best=still == "best",
        **rest,
    )
