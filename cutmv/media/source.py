"""What FFmpeg may open: one local file or one URL, as the one container its first bytes show.

A playlist or script named `.mp4` makes FFmpeg read other files, even under a protocol
whitelist, so the container is found from magic bytes here and forced on FFmpeg, and the
whitelists of protocols and formats stand behind that.
"""

from pathlib import Path
from urllib.parse import urlsplit

import certifi
import httpx

from cutmv.media.errors import MediaError, MediaUnavailable

#: The demuxers a source may be read with, by FFmpeg's names.
DEMUXERS = ("mov", "matroska", "avi", "mpegts")
#: Bytes from the start of a file that show its container: two packets of a transport stream.
HEAD_BYTES = 400
#: Seconds for the request of these bytes, connection included.
HEAD_TIMEOUT_S = 20.0
#: Microseconds of silence after which FFmpeg gives a connection up.
RW_TIMEOUT_US = 30_000_000
#: Seconds over which FFmpeg reconnects a broken download before it gives up.
RECONNECT_MAX_S = 8

#: The first box of an MP4 or QuickTime file.
_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def is_url(source: str) -> bool:
    """Whether `source` is read over HTTP rather than from the disk."""
    return source.startswith(("http://", "https://"))


def demuxer_of(source: str) -> str:
    """FFmpeg's name for the container of `source`, from its first bytes.

    Raises MediaError when it is no video container we read, MediaUnavailable when a URL fails.
    """
    head = _head_of_url(source) if is_url(source) else _head_of_file(source)
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


def input_args(source: str, demuxer: str) -> list[str]:
    """The options, with `-i`, by which FFmpeg and ffprobe open `source` and nothing else."""
    # Forced and whitelisted: neither the file nor what it names is read as anything else.
    formats = ["-format_whitelist", demuxer, "-f", demuxer]
    if not is_url(source):
        return ["-protocol_whitelist", "file", *formats, "-i", f"file:{Path(source).absolute()}"]
    protocols = "https,tls,tcp,http" if source.startswith("https:") else "http,tcp"
    network = ["-rw_timeout", str(RW_TIMEOUT_US)]
    network += ["-reconnect", "1", "-reconnect_on_network_error", "1"]
    network += ["-reconnect_delay_max", str(RECONNECT_MAX_S)]
    if source.startswith("https:"):
        # FFmpeg checks no certificate unless told to.
        network += ["-tls_verify", "1", "-ca_file", certifi.where()]
    return ["-protocol_whitelist", protocols, *network, *formats, "-i", source]


def _head_of_file(source: str) -> bytes:
    path = Path(source)
    if not path.is_file():
        raise MediaError(f"There is no file named {path.name!r}.")
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise MediaError(f"The file {path.name!r} can't be read: {error.strerror}.") from error


def _head_of_url(source: str) -> bytes:
    ranged = {"Range": f"bytes=0-{HEAD_BYTES - 1}"}
    head = b""
    try:
        with httpx.stream("GET", source, headers=ranged, timeout=HEAD_TIMEOUT_S) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return b""
            if response.is_error or response.is_redirect:
                status = response.status_code
                raise MediaUnavailable(f"The storage answered {status} when asked for the video.")
            for chunk in response.iter_raw():
                head += chunk
                if len(head) >= HEAD_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        host = urlsplit(source).hostname
        reason = type(error).__name__
        raise MediaUnavailable(f"The video can't be read from {host}: {reason}.") from error
    return head[:HEAD_BYTES]
