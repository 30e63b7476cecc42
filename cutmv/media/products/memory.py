"""How much memory it takes to make an output, beside others of the same decode. Pure."""

from cutmv.media.products.spec import ANIMATIONS, FILMS, OutputSpec

#: Pictures that a film's encoder holds: what it looks ahead at, refers to, and has queued.
ENCODER_PICTURES = 60
#: Pictures that a loop's end dissolves from, at most.
DISSOLVED_PICTURES = 15


def held_bytes(spec: OutputSpec, width: int, height: int, pictures: int | None) -> int:
    """Bytes of the pictures that are held at once to make an output of this size, about."""
    if spec.kind in ANIMATIONS:  # one palette for all: each is held, with four bytes a pixel
        return 4 * width * height * (pictures or 1)
    if spec.kind not in FILMS:
        return 0
    held = ENCODER_PICTURES
    if spec.kind == "canvas" and spec.loop == "rebound":
        held += (pictures or 0) // 2
    elif spec.kind == "canvas" and spec.loop == "dissolve":
        held += DISSOLVED_PICTURES
    return width * height * 3 // 2 * held
