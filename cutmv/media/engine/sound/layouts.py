"""Layouts of channels: which of a format's has all of the sound's, so that nothing is mixed."""

from __future__ import annotations

from av.audio.layout import AudioLayout

#: What is at a listener's sides is behind where nothing else is: 5.1 has two forms.
_BEHIND = {"SL": "BL", "SR": "BR"}
#: The usual layout of so many channels of which the file tells no place, as FFmpeg has it.
_USUAL = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")


def fitting(layout: str, known: tuple[str, ...]) -> str:
    """Return the smallest of a format's layouts that has all channels of another.

    `known` are in the order of their size. Where none has, stereo: the channels are mixed.
    """
    wanted = _places(layout)
    return next((each for each in known if wanted <= _places(each)), "stereo")


def _places(name: str) -> set[str]:
    layout = AudioLayout(name)
    places = {channel.name for channel in layout.channels}
    if places == {"NONE"}:
        if layout.nb_channels > len(_USUAL):
            return places
        return _places(_USUAL[layout.nb_channels - 1])
    if places & set(_BEHIND.values()):
        return places
    return {_BEHIND.get(place, place) for place in places}
