"""The source that FFmpeg may open: one file, or one relay of a URL, in one container format.

A playlist or script named `.mp4` makes FFmpeg read other files, even with a protocol whitelist. So
the container is found here by its first bytes and forced on FFmpeg, and whitelists of protocols and
formats stand behind that.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cutmv.media.errors import MediaError, MediaUnavailable, SourceUnavailable

#: The demuxers a source may be read with, by FFmpeg's names.
DEMUXERS = ("mov", "matroska", "avi", "mpegts")
#: Bytes from the start of a file that show its container: two packets of a transport stream.
HEAD_BYTES = 400
#: Seconds without a byte after which a relay is given up; the relay itself retries as long.
RELAY_SILENCE_S = 240

#: The first box of an MP4 or QuickTime file.
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


@contextmanager
def readable(source: str | Path) -> Iterator[str]:
    """The name by which FFmpeg reads `source`, a path or an HTTP URL, for as long as it is open.

    Raises MediaUnavailable at its end when the storage did not give all that FFmpeg asked for:
    SourceUnavailable unless it refused to.
    """
    source = str(source)
    if not _is_url(source):
        yield source
        return
    from cutmv.media.relay import Relay  # what is on this machine needs no HTTP client

    with Relay(source) as relay:
        try:
            yield relay.url
        except (MediaError, MediaUnavailable) as error:
            if failure := relay.lost or relay.trouble:
                raise _not_given(failure, refused=relay.refused) from error
            raise
    if relay.lost:
        raise _not_given(relay.lost, refused=relay.refused)


def _not_given(failure: str, *, refused: bool) -> MediaUnavailable:
    return MediaUnavailable(failure) if refused else SourceUnavailable(failure)


def demuxer_of(source: str) -> str:
    """FFmpeg's name for the container of `source`, a readable name, from its first bytes.

    Raises MediaError when it is no video container we read, MediaUnavailable when a relay fails.
    """
    return container_of(_head_of_relay(source) if _is_url(source) else _head_of_file(source))


def container_of(head: bytes) -> str:
    """FFmpeg's name for the container of a file that starts with `head`, its first HEAD_BYTES.

    Raises MediaError when it is no video container we read.
    """
    if not head:
        raise MediaError("The file is empty.")
    if head[4:8] in _MOV_BOXES:
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    # A transport stream's packets are 188 bytes, or 192 with a time code before each.
    if head[0:1] == head[188:189] == b"\x47" or head[4:5] == head[196:197] == b"\x47":
        return "mpegts"
    raise MediaError("The file is no video we can read: use MP4, MOV, MKV, WebM, AVI or MPEG-TS.")


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _head_of_file(source: str) -> bytes:
    path = Path(source)
    if not path.is_file():
        raise MediaError(f"There is no file named {path.name!r}.")
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise MediaError(f"The file {path.name!r} can't be read: {error.strerror}.") from error


def _head_of_relay(source: str) -> bytes:
    import httpx  # see `readable`

    ranged = {"Range": f"bytes=0-{HEAD_BYTES - 1}"}
    head = b""
    try:
        # The relay is on this machine: no proxy of the environment leads to it.
        with (
            httpx.Client(timeout=RELAY_SILENCE_S, trust_env=False) as client,
            client.stream("GET", source, headers=ranged) as answer,
        ):
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return b""
            answer.raise_for_status()
            for chunk in answer.iter_raw():
                head += chunk
                if len(head) >= HEAD_BYTES:  # a storage may ignore ranges, and send all
                    break
    except httpx.HTTPError as error:
        raise MediaUnavailable(f"The video can't be read: {type(error).__name__}.") from error
    return head[:HEAD_BYTES]
