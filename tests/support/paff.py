"""Writes H.264 whose fields are pictures of their own (PAFF), as camcorders do and x264 does not.

Each macroblock is its samples as they are (I_PCM; ITU-T H.264, 7.3.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

#: Frames from one key picture to the next.
GROUP = 12

Image = NDArray[np.uint8]


class Bits:
    """Bits as they are written: of a fixed length, or as Exp-Golomb codes."""

    def __init__(self) -> None:
        self._text = ""

    def u(self, *values: tuple[int, int]) -> Bits:
        """Write values, each with its length in bits."""
        self._text += "".join(format(value, f"0{length}b") for length, value in values)
        return self

    def ue(self, *values: int) -> Bits:
        """Write values of 0 and more as codes."""
        for value in values:
            code = format(value + 1, "b")
            self._text += "0" * (len(code) - 1) + code
        return self

    def bytes(self, end: str = "") -> bytes:
        """All that is written and `end`, filled with zeros to whole bytes."""
        text = self._text + end
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8)


def paff(frames: Iterable[Image]) -> Iterator[bytes]:
    """Yield a stream of grey frames, each as two fields; their samples are from 16 to 235.

    Their sides are multiples of 16 and 32.
    """
    for place, frame in enumerate(frames):
        number = place % GROUP
        if number == 0:
            height, width = frame.shape
            # Main profile; order of showing as of decoding; one reference; fields are allowed.
            sps = Bits().u((8, 77), (8, 0), (8, 30)).ue(0, 0, 2, 1).u((1, 0))
            sps.ue(width // 16 - 1, height // 32 - 1).u((1, 0), (1, 0), (1, 1), (1, 0), (1, 0))
            yield _unit(0x67, sps.bytes("1"))
            pps = Bits().ue(0, 0).u((1, 0), (1, 0)).ue(0, 0, 0).u((1, 0), (2, 0)).ue(0, 0, 0)
            yield _unit(0x68, pps.u((1, 0), (1, 0), (1, 0)).bytes("1"))
        key = number == 0
        yield _field(frame[0::2], number, lower=False, key=place // GROUP % 2 if key else None)
        yield _field(frame[1::2], number, lower=True, key=None)


def _field(image: Image, number: int, *, lower: bool, key: int | None) -> bytes:
    head = Bits().ue(0, 7, 0).u((4, number), (1, 1), (1, lower))
    if key is not None:
        head.ue(key).u((1, 0))
    head.u((1, 0)).ue(0, 25)
    data, chroma = bytearray(), bytes([128]) * 128
    for top in range(0, image.shape[0], 16):
        for left in range(0, image.shape[1], 16):
            data += Bits().ue(25).bytes() if data else head.bytes()
            data += image[top : top + 16, left : left + 16].tobytes() + chroma
    return _unit(0x61 if key is None else 0x65, bytes(data) + b"\x80")


def _unit(header: int, data: bytes) -> bytes:
    """A NAL unit after its start code, without what looks like one (7.4.1)."""
    out, zeros = bytearray((0, 0, 0, 1, header)), 0
    for byte in data:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)
