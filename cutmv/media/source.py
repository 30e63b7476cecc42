"""The source that the engine may open: one file, or one relay of a URL, in one container format.

A playlist or script named `.mp4` makes FFmpeg read other files, even with a protocol whitelist. So
the container is found here by its first bytes and forced on FFmpeg, and whitelists of protocols and
formats stand behind that.
"""

import errno
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cutmv.media.engine.source.reader import is_relay, reader
from cutmv.media.errors import MediaError, MediaUnavailable, SourceUnavailable
from cutmv.media.remote.cache import Cache

#: The demuxers a source may be read with, by FFmpeg's names.
DEMUXERS = ("mov", "matroska", "avi", "mpegts")
#: Bytes from the start of a file that show its container: two packets of a transport stream.
HEAD_BYTES = 400

#: The system's errors for a file that who asks may not read, which no retry mends; others are those
#: of its disk.
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)

#: The first box of an MP4 or QuickTime file.
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


@dataclass
class Readable:
    """A source by the name that the engine reads it by.

    `fetched` are the bytes that came from the storage, by so many `requests`, when it is closed;
    none of a file, which is read in place.
    """

    name: str
    fetched: int | None = None
    requests: int | None = None


@contextmanager
def readable(source: str | Path, cache: Cache | None = None) -> Iterator[Readable]:
    """Open `source`, a path or an HTTP URL, for the engine.

    What is fetched of a URL is kept in `cache`, or else as long as it is open. Raises
    MediaUnavailable at its end when the storage did not give all that the engine asked for:
    SourceUnavailable unless it refused to.
    """
    source = str(source)
    if not _is_url(source):
        yield Readable(source)
        return
    from cutmv.media.remote.relay import Relay  # what is on this machine needs no HTTP client

    with ExitStack() as stack:
        if cache is None:
            own = stack.enter_context(tempfile.TemporaryDirectory(prefix="cutmv-"))
            cache = Cache(Path(own))
        relay = stack.enter_context(Relay(source, cache))
        found, remote = Readable(relay.name), relay.remote
        try:
            yield found
        except (MediaError, MediaUnavailable) as error:
            if failure := remote.lost or remote.trouble:
                raise _not_given(failure, refused=remote.refused) from error
            raise
        finally:
            found.fetched, found.requests = remote.fetched, remote.requests
    if remote.lost:
        raise _not_given(remote.lost, refused=remote.refused)


def forget(source: str, cache: Cache) -> None:
    """Delete what a cache keeps of the video at `source`; what it can't find is kept for a day."""
    if _is_url(source):
        from cutmv.media.remote.object import NotGiven, RemoteObject

        with closing(RemoteObject(source, threading.Event())) as remote, suppress(NotGiven):
            if identity := remote.identity:
                cache.delete(identity)


def _not_given(failure: str, *, refused: bool) -> MediaUnavailable:
    return MediaUnavailable(failure) if refused else SourceUnavailable(failure)


def demuxer_of(source: str) -> str:
    """FFmpeg's name for the container of `source`, a readable name, from its first bytes.

    Raises MediaError when it is no video container we read, MediaUnavailable when a relay fails,
    or a disk.
    """
    return container_of(_head_of_relay(source) if is_relay(source) else _head_of_file(source))


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
    try:
        if not path.is_file():
            raise MediaError(f"There is no file named {path.name!r}.")
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        kind = MediaError if error.errno in NOT_ALLOWED else SourceUnavailable
        raise kind(f"The file {path.name!r} can't be read: {error.strerror}.") from error


def _head_of_relay(source: str) -> bytes:
    try:
        with closing(reader(source)) as relay:
            return relay.read(HEAD_BYTES)
    except OSError as error:
        raise MediaUnavailable(f"The video can't be read: {error.strerror}.") from error
