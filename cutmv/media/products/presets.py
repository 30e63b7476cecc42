"""The presets, which are data in `presets.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cutmv.media.errors import MediaError
from cutmv.media.products.spec import Fit, OutputSpec


@dataclass(frozen=True)
class Preset:
    """An output that a platform takes: what it is in words, and how it is made."""

    title: str
    spec: OutputSpec

    def fitted(self, fit: Fit | None) -> OutputSpec:
        """Its output, made to fit as a person wants it, or as is usual there."""
        return (
            self.spec if fit is None else OutputSpec.from_dict({**self.spec.to_dict(), "fit": fit})
        )


@cache
def presets() -> dict[str, Preset]:
    """The presets by name, in the file's order."""
    text = Path(__file__).with_name("presets.toml").read_text(encoding="utf-8")
    made = {}
    for name, plain in tomllib.loads(text).items():
        title = plain.pop("title")
        made[name] = Preset(title, OutputSpec.from_dict({**plain, "preset": name}))
    return made


def preset(name: str) -> Preset:
    """The preset of this name. Raises MediaError that names those there are."""
    try:
        return presets()[name]
    except KeyError:
        known = ", ".join(presets())
        raise MediaError(f"There is no preset {name!r}: there are {known}.") from None
