"""Which sound tracks of a source an output has. Pure."""

from collections.abc import Sequence

from cutmv.media.errors import MediaError
from cutmv.media.info import AudioStream, MediaInfo

#: What stands for every track, and for none.
ALL, NONE = "all", "none"


def chosen(info: MediaInfo, wanted: Sequence[str]) -> tuple[AudioStream, ...]:
    """The tracks that are `wanted`: by number from 1, by language, "all" or "none".

    Without a wish it is the one that a player plays. Raises MediaError that names those there are,
    or says that they are not known: what earlier versions noted of an upload has no `sounds`.
    """
    if not wanted:
        return (info.audio,) if info.audio else ()
    if NONE in wanted:
        if len(wanted) > 1:
            raise MediaError("No sound track and others can't both be wanted.")
        return ()
    tracks = info.sounds
    if not tracks and info.audio:
        raise MediaError(
            "An earlier version took this video in, and noted one sound track alone: send it again."
        )
    if not tracks:
        raise MediaError("The file has no sound.")
    found: list[AudioStream] = []
    for wish in wanted:
        matching = [
            track
            for number, track in enumerate(tracks, start=1)
            if wish.casefold() in (ALL, str(number), track.language and track.language.casefold())
        ]
        if not matching:
            raise MediaError(f"There is no sound track {wish!r}: there {_listed(tracks)}.")
        found += [track for track in matching if track not in found]
    return tuple(found)


def _listed(tracks: Sequence[AudioStream]) -> str:
    named = [
        f"{number} ({track.language})" if track.language else str(number)
        for number, track in enumerate(tracks, start=1)
    ]
    return f"{'is' if len(named) == 1 else 'are'} {', '.join(named)}"
