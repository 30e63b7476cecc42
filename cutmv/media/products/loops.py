"""Loops without sound, within what Spotify takes as a Canvas: 3 to 8 s, upright, MP4.

https://support.spotify.com/artists/article/canvas-guidelines/
"""

from dataclasses import dataclass
from fractions import Fraction

from cutmv.media.errors import MediaError
from cutmv.media.info import VideoStream
from cutmv.media.products.spec import Loop

#: The shortest and the longest Canvas, in seconds.
SHORTEST_S, LONGEST_S = 3, 8
#: The most pictures a second.
FASTEST = 30
#: Seconds in which a loop's end dissolves into its beginning.
DISSOLVE_S = Fraction(1, 2)


@dataclass(frozen=True)
class Round:
    """How a loop is made: `used` seconds of the clip become `pictures`, `rate` of them a second.

    `filters` follow those that bring the pictures into the loop's shape: only pictures of that
    size are held in memory, half a loop of them at most.
    """

    used: Fraction
    rate: Fraction
    pictures: int
    filters: str


def rate_of(video: VideoStream) -> Fraction:
    """Pictures a second: the source's own, or an even part of them."""
    if video.variable or video.frame_rate <= 0:
        return Fraction(FASTEST)
    return video.frame_rate / -(-video.frame_rate // FASTEST)


def looped(video: VideoStream, length_s: Fraction, loop: Loop) -> Round:
    """How a clip of so many seconds becomes a loop; of a longer clip its first seconds do.

    Raises MediaError when the clip is too short.
    """
    rate = rate_of(video)
    fewest, most = -int(-SHORTEST_S * rate // 1), int(LONGEST_S * rate)
    given = round(length_s * rate)
    if loop == "hard":
        count = used = min(given, most)
        filters = "null"
    elif loop == "rebound":
        # There and back: neither end is shown twice. A cropped picture holds the whole one until it
        # is copied.
        used = min(given, most // 2 + 1)
        count = 2 * used - 2
        filters = (
            f"split[there][again];[again]trim=start_frame=1:end_frame={used - 1},"
            "setpts=PTS-STARTPTS,copy,reverse[back];[there][back]concat"
        )
    else:
        faded = round(DISSOLVE_S * rate)
        used = min(given, most + faded)
        count = used - faded
        # What the end dissolves into is the clip's beginning, and the loop begins right after it.
        filters = (
            f"split[rest][again];[again]trim=end_frame={faded},copy,fps={rate}[begin];"
            f"[rest]trim=start_frame={faded},setpts=PTS-STARTPTS,fps={rate}[on];"
            f"[on][begin]xfade=duration={float(faded / rate):.6f}"
            f":offset={float((count - faded) / rate):.6f}"
        )
    if count < fewest:
        needed = {"hard": Fraction(SHORTEST_S), "rebound": Fraction(SHORTEST_S, 2) + 1 / rate}
        least = float(needed.get(loop, SHORTEST_S + DISSOLVE_S))
        raise MediaError(
            f"A Canvas is {SHORTEST_S} to {LONGEST_S} s long: this loop ({loop}) needs a clip of"
            f" {least:.4g} s or more, not {float(length_s):g} s."
        )
    return Round(Fraction(used) / rate, rate, count, filters)
