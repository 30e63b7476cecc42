"""The options of `cutmv cut` that say what to make of each clip."""

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from itertools import zip_longest
from typing import Any

import click

from cutmv.jobs import OPTIONS, Wanted, usual_aspects
from cutmv.media import Sound, presets

_SOUNDS: dict[str, Sound] = {"copy": "m4a", "mp3": "mp3", "wav": "wav", "flac": "flac"}


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


def _option(flag: str, name: str, **more: Any) -> Callable[..., Any]:
    """An option of the command line for a field of `Wanted`; `more` is what is said otherwise."""
    asked = OPTIONS[name]
    told = asked.asked.told + (" May be repeated." if asked.form in ("many", "words") else "")
    usual: dict[str, Any] = {"help": told}
    match asked.form:
        case "many" | "one":
            usual |= {"type": click.Choice(list(asked.values)), "multiple": asked.form == "many"}
            usual |= {} if asked.form == "many" else {"default": asked.default}
        case "words":
            usual |= {"multiple": True}
        case "flag":
            usual |= {"is_flag": True}
        case "number":
            kind = click.FloatRange if isinstance(asked.default, float) else click.IntRange
            usual |= {"type": kind(min=asked.asked.least), "default": asked.default}
    return click.option(flag, name, **usual | more)


_OPTIONS = (
    _option(
        "--aspect",
        "aspects",
        show_default="source, unless a preset, a canvas or sound is asked for",
    ),
    _option("--fit", "fit"),
    _option(
        "--centre", "centre", metavar="X,Y", callback=_centre, default="0.5,0.5", show_default=True
    ),
    _option("--remove-bars", "remove_bars"),
    _option("--fade", "fade_s", metavar="SECONDS"),
    _option("--loudness", "loudness"),
    _option("--preset", "presets", metavar="NAME"),
    click.option(
        "--list-presets",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_list_presets,
        help="List the presets and end.",
    ),
    _option("--gif", "gif"),
    _option("--gif-max-bytes", "gif_max_bytes", metavar="BYTES"),
    _option("--webp", "webp"),
    _option(
        "--still",
        "still",
        is_flag=False,
        flag_value="first",
        type=click.Choice(["first", "best"]),
        help="Also make a still: the clip's first picture, or the sharpest that is not black.",
    ),
    _option("--canvas", "canvas", is_flag=False, flag_value="dissolve"),
    _option("--sound", "sounds", type=click.Choice(list(_SOUNDS))),
    _option("--audio", "audio", metavar="TRACK"),
    _option("--join", "join"),
    _option("--exact-copy", "exact_copy", show_default=True),
    _option("--encoder", "encoder", show_default=True),
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
    alone = tuple(_SOUNDS[name] for name in sounds)
    return Wanted(
        aspects=aspects or usual_aspects(rest["presets"], rest["canvas"], alone),
        sounds=alone,
        still=still is not None,
        best=still == "best",
        **rest,
    )
