"""How much of a video in an object store a clip reads, beside the clip's own bytes."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
from targets import Target, most

from cutmv.media import Cache, Clip, OutputSpec, ffmpeg_path, plan, probe, render

#: Where a clip of ten seconds begins.
START, END = Fraction(21), Fraction(31)
#: Containers, each with FFmpeg's options for it.
CONTAINERS = {
    "MP4, index in front": ("mp4", "-movflags +faststart"),
    "MP4, index at the back": ("mp4", ""),
    "MKV": ("mkv", ""),
    "MPEG-TS, no index": ("ts", ""),
}
#: What is read of the clip's own bytes at most, beside what a look at the file reads.
BOUND = 1.3

_RANGE = re.compile(r"^bytes=(\d+)-(\d+)$")


def reads(source: Path, folder: Path) -> list[Target]:
    """Cut a clip of `source` in each container from a server, and compare what it gave."""
    found = []
    for name, (suffix, options) in CONTAINERS.items():
        path = folder / f"read.{suffix}"
        argv = [ffmpeg_path(), "-v", "error", "-y", "-i", str(source), "-c", "copy"]
        subprocess.run([*argv, *options.split(), str(path)], check=True)
        cache = Cache(folder / f"cache of {name}")
        with served(path) as url:
            info = probe(url, cache=cache)
            spec = OutputSpec("cutdown", "source", "crop")
            planned = plan(info, Clip(START, END), spec)
            made = render(url, planned, folder / "read-made.mp4", timeout_s=600, cache=cache)
        part = round((made.read_bytes or 0) / own_bytes(path), 3)
        found.append(
            most(f"{name}: read of a clip's own bytes ({made.requests} requests)", part, BOUND)
        )
    return found


def own_bytes(path: Path) -> int:
    """Return the bytes of the clip's packets, from the key picture before it on."""
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux() if packet.size and packet.pts is not None]
        times = [float((packet.pts or 0) * packet.time_base) for packet in packets]
        pictures = [packet.stream.type == "video" for packet in packets]
        zero = min(at for at, picture in zip(times, pictures, strict=True) if picture)
        first = max(
            at
            for at, picture, packet in zip(times, pictures, packets, strict=True)
            if picture and packet.is_keyframe and at <= START + zero
        )
        return sum(
            packet.size
            for at, packet in zip(times, packets, strict=True)
            if first <= at < END + zero
        )


@contextmanager
def served(path: Path) -> Iterator[str]:
    """Give a file by ranges; yield its address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.content = path.read_bytes()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{path.name}"
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    content: bytes


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        asked = _RANGE.match(self.headers["Range"])
        if asked is None:
            self.send_error(400)
            return
        first, past = int(asked[1]), int(asked[2]) + 1
        data = self.server.content[first:past]
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        size = len(self.server.content)
        self.send_header("Content-Range", f"bytes {first}-{first + len(data) - 1}/{size}")
        self.send_header("ETag", '"the same"')
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Log no request."""
