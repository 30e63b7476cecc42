"""What packets of sound tell of themselves, by codec, and what a decoder needs before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cutmv.media.engine.codecs.headers.bits import BitReader, Malformed

#: Samples of a packet: AAC as MP4 and MPEG-TS have it, MP3 by its version, AC-3.
AAC_SAMPLES, MP3_SAMPLES, AC3_SAMPLES = 1024, {3: 1152, 2: 576, 0: 576}, 1536
#: Kilobits a second of MPEG-1 Layer III, and of the lower rates of MPEG-2 (ISO 11172-3, 2.4.2.3;
#: ISO 13818-3, 2.4.2.3), and hertz of both (a half and a quarter of them in MPEG-2 and 2.5).
_MP3_RATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_LOW_RATES = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_HERTZ = (44_100, 48_000, 32_000)


@dataclass(frozen=True, slots=True)
class Told:
    """What a packet tells: its samples, and of its form (rate, channels) what may not change.

    It has `held` bytes that it or later packets use, and may use the last `back` of those before.
    """

    samples: int
    form: bytes = b""
    held: int = 0
    back: int = 0


@dataclass(frozen=True, slots=True)
class Codec:
    """How the packets of a codec follow one another.

    `read` tells of a packet, by the stream's header; it raises Malformed. A decoder is exact after
    `preroll` samples of others, and where these hold bits of later ones after `reservoir` samples.
    """

    read: Callable[[bytes, bytes], Told]
    preroll: int = 0
    reservoir: int = 0


def _aac(data: bytes, header: bytes) -> Told:
    """ISO 13818-7, 6.2.1: an ADTS header has a sync word, then profile, rate and channels."""
    del header
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xF0 != 0xF0:
        return Told(AAC_SAMPLES)
    return Told(AAC_SAMPLES, bytes((data[2] & 0xFD, data[3] & 0xC0)))


def _mp3(data: bytes, header: bytes) -> Told:
    """ISO 11172-3, 2.4.1 and 2.4.2.3, and 13818-3: one frame, of the length that its header tells.

    After the header, a checksum perhaps, and the side information stand bits of it or later ones.
    """
    del header
    r = BitReader(data[:4])
    sync, version, layer, checked = r.u(11), r.u(2), r.u(2), not r.flag()
    rate, hertz, padding = r.u(4), r.u(2), r.u(1)
    r.skip(1)
    mono = r.u(2) == 3
    if sync != 0x7FF or version == 1 or layer != 1 or hertz == 3 or rate in (0, 15):
        raise Malformed("no frame of MP3")
    samples = MP3_SAMPLES[version]
    bits = (_MP3_RATES if version == 3 else _MP3_LOW_RATES)[rate] * 1000
    clock = _MP3_HERTZ[hertz] // {3: 1, 2: 2, 0: 4}[version]
    if len(data) != samples // 8 * bits // clock + padding:
        raise Malformed("a frame of MP3 has another length than it tells")
    side = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}
    beside = 4 + (2 if checked else 0) + side[version == 3, mono]
    back = 511 if version == 3 else 255
    return Told(samples, bytes((version, hertz, mono)), max(0, len(data) - beside), back)


def _ac3(data: bytes, header: bytes) -> Told:
    """ETSI TS 102 366, 4.3 and 4.4: the sync information, and what follows it."""
    del header
    r = BitReader(data[:8])
    if r.u(16) != 0x0B77:
        raise Malformed("no frame of AC-3")
    r.skip(16)
    clock, size, version, kind, mode = r.u(2), r.u(6) >> 1, r.u(5), r.u(3), r.u(3)
    if version > 10:
        raise Malformed("no frame of AC-3")
    centre, surround, stereo = mode & 1 and mode != 1, mode & 4, mode == 2
    r.skip(2 * (bool(centre) + bool(surround) + stereo))
    return Told(AC3_SAMPLES, bytes((clock, size, version, kind, mode, r.flag())))


def _eac3(data: bytes, header: bytes) -> Told:
    """ETSI TS 102 366, E.1.3: the frames of a packet, of which the first tells the samples."""
    del header
    at, form = 0, bytearray()
    while at < len(data):
        r = BitReader(data[at : at + 6])
        if r.u(16) != 0x0B77:
            raise Malformed("no frame of E-AC-3")
        kind, number, words, clock, blocks = r.u(2), r.u(3), r.u(11), r.u(2), r.u(2)
        if blocks != 3 and clock != 3:
            raise Malformed("a frame of E-AC-3 is short")
        form += bytes((kind, number, clock, blocks if clock == 3 else 0, r.u(4), r.u(5)))
        at += 2 * (words + 1)
    return Told(AC3_SAMPLES, bytes(form))


def _opus(data: bytes, header: bytes) -> Told:
    """RFC 6716, 3.1 and 3.2: a byte tells the length of frames and, with the next, their number."""
    del header
    r = BitReader(data[:2])
    config, _, code = r.u(5), r.u(1), r.u(2)
    if config < 12:
        samples = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        samples = (480, 960)[config & 1]
    else:
        samples = 120 << (config & 3)
    frames = (1, 2, 2)[code] if code < 3 else r.u(8) & 0x3F
    if not 0 < samples * frames <= 5760:
        raise Malformed("a packet of Opus is too long")
    return Told(samples * frames)


def _alac(data: bytes, header: bytes) -> Told:
    """Apple's ALACMagicCookieDescription, and the header of an element in a packet."""
    r = BitReader(data[:8])
    r.skip(3 + 4 + 12)
    has_size = r.flag()
    r.skip(2 + 1)
    # An atom: its size, its name, its version, then the samples of a packet.
    samples = r.u(32) if has_size else int.from_bytes(header[12:16])
    if not 0 < samples <= 1 << 16:
        raise Malformed("a packet of ALAC tells no length")
    return Told(samples)


#: By FFmpeg's names. Of Opus 80 ms are the least (RFC 7845, 4.6): after four times that, what a
#: packet's energies owe to those before is inaudible. Of AAC two packets, of others what overlaps.
CODECS = {
    "aac": Codec(_aac, preroll=2 * AAC_SAMPLES),
    # At 32 kbit/s and 48 kHz, 511 bytes are those of nine packets.
    "mp3": Codec(_mp3, preroll=2 * 1152, reservoir=18 * 1152),
    "ac3": Codec(_ac3, preroll=AC3_SAMPLES),
    "eac3": Codec(_eac3, preroll=AC3_SAMPLES),
    "opus": Codec(_opus, preroll=4 * 3840),
    "alac": Codec(_alac),
}


def header_of(codec: str, header: bytes, hidden: int) -> bytes:
    """Return the header of a stream of which only a part is kept, `hidden` samples before it.

    Opus tells them (RFC 7845, 5.1).
    """
    if codec == "opus" and header[:8] == b"OpusHead":
        return header[:10] + min(hidden, 0xFFFF).to_bytes(2, "little") + header[12:]
    return header
