"""How much memory it takes to make an output, beside others of the same decode. Pure.

By what FFmpeg took at its peak for films of 360p to 1080p, loops, GIF and WebP, by 3, 12 and 24
threads: what is told here is 1.0 to 1.3 times as much.
"""

from cutmv.media.products.spec import ANIMATIONS, FILMS, OutputSpec

#: Bytes of a program that makes one output, with the source's pictures that it has queued.
PROGRAM_BYTES = 64 * 10**6
#: Pictures that a film's encoder takes the room of: what it looks ahead at, refers to, and has
#: queued, each with what is found out about it; and so many more for each of its threads.
ENCODER_PICTURES, THREAD_PICTURES = 70, 7
#: Threads of an encoder for each core (x264's rule).
THREADS_A_CORE = 1.5
#: Pictures that a loop's end dissolves from, at most, and what the filters between have queued.
DISSOLVED_PICTURES = 42


def held_bytes(spec: OutputSpec, width: int, height: int, pictures: int | None, cores: int) -> int:
    """Bytes that it takes to make an output of this size on so many cores, about."""
    if spec.kind in ANIMATIONS:  # one palette for all: each is held, with four bytes a pixel
        return PROGRAM_BYTES + 4 * width * height * (pictures or 1)
    if spec.kind not in FILMS:
        return 0
    held = ENCODER_PICTURES + THREAD_PICTURES * int(THREADS_A_CORE * cores)
    if spec.kind == "canvas" and spec.loop == "rebound":
        held += (pictures or 0) // 2
    elif spec.kind == "canvas" and spec.loop == "dissolve":
        held += DISSOLVED_PICTURES
    return PROGRAM_BYTES + width * height * 3 // 2 * held
