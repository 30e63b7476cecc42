"""Videos read over HTTP, from a server that has a name, breaks off, refuses or falls silent."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from cutmv.media import Cache, Clip, MediaUnavailable, OutputSpec, Progress, plan, probe, render
from cutmv.media.engine.source.reader import connected, descriptor_of
from cutmv.media.remote.relay import MOST_CONNECTIONS, Relay
from tests.support.media import frame_number, make_sample, read_frames
from tests.support.processes import free_port

SIZE = (320, 180)
CUT = OutputSpec("cutdown", "source", "crop")
SECRET = "X-Amz-Signature=0123456789abcdef"


class Files(ThreadingHTTPServer):
    """Serves one file by ranges; `drop_after` breaks off answers, `status` refuses requests."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.drops, self.drop_after = 0, 0
        self.refusals, self.status = 0, 200
        self.ranges: list[str] = []

    @property
    def url(self) -> str:
        """By a name: a static FFmpeg can't look one up by itself."""
        return f"http://localhost:{self.server_port}/video?{SECRET}"


class Handler(BaseHTTPRequestHandler):
    server: Files

    def do_GET(self) -> None:
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers["Range"])
        assert asked
        self.server.ranges.append(self.headers["Range"])
        size = len(self.server.content)
        first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
        if self.server.refusals > 0:
            self.server.refusals -= 1
            self.send_error(self.server.status)
            return
        if first >= size:
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if self.server.drops > 0 and last + 1 - first > self.server.drop_after:
            self.server.drops -= 1
            last = first + self.server.drop_after - 1
        try:
            self.wfile.write(self.server.content[first : last + 1])
        except ConnectionError:
            return

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("relay") / "v.mp4", seconds=4, size=SIZE)


@pytest.fixture
def files(video: Path) -> Iterator[Files]:
    server = Files(video.read_bytes())
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def cut_from(url: str, made: Path) -> list[int]:
    planned = plan(probe(url), Clip(Fraction(1), Fraction(3)), CUT)
    render(url, planned, made, timeout_s=60)
    return [frame_number(image, SIZE) for image in read_frames(made)]


def test_a_video_is_cut_from_a_server_that_has_a_name(files: Files, tmp_path: Path) -> None:
    assert cut_from(files.url, tmp_path / "made.mp4") == list(range(30, 90))


def test_a_download_that_breaks_off_goes_on_where_it_was(files: Files, tmp_path: Path) -> None:
    files.drops, files.drop_after = 25, 20_000
    assert cut_from(files.url, tmp_path / "made.mp4") == list(range(30, 90))
    assert files.drops < 20, "nothing was dropped"


def test_an_answer_that_may_pass_is_asked_for_again(files: Files) -> None:
    files.refusals, files.status = 3, 503
    assert probe(files.url).video is not None
    assert files.refusals == 0


@pytest.mark.parametrize("status", [403, 404, 302])
def test_a_refusal_is_told_at_once_and_without_the_signature(files: Files, status: int) -> None:
    files.refusals, files.status = 1000, status
    with pytest.raises(MediaUnavailable, match=f"The storage answered {status}") as told:
        probe(files.url)
    assert files.refusals == 999
    assert "Signature" not in repr(told.value)


def test_a_server_that_stays_broken_is_given_up(files: Files) -> None:
    files.refusals, files.status = 1000, 500
    with pytest.raises(MediaUnavailable, match="The storage answered 500"):
        probe(files.url)
    assert 2 <= 1000 - files.refusals <= 10


def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://localhost:{free_port()}/v?{SECRET}"
    with pytest.raises(
        MediaUnavailable, match=r"can't be read from localhost: ConnectError"
    ) as told:
        probe(url)
    assert "Signature" not in repr(told.value)


def test_a_name_that_nobody_has_is_told_in_one_line() -> None:
    with pytest.raises(MediaUnavailable, match=r"can't be read from no-such-host\.invalid"):
        probe("http://no-such-host.invalid/v")


def test_a_video_that_goes_away_in_mid_cut_may_come_back(files: Files, tmp_path: Path) -> None:
    planned = plan(probe(files.url), Clip(Fraction(1), Fraction(3)), CUT)
    # All that is left of each answer is its first bytes: what is read is short, not damaged.
    files.drops, files.drop_after = 100_000, 0
    with pytest.raises(MediaUnavailable, match="RemoteProtocolError"):
        render(files.url, planned, tmp_path / "made.mp4", timeout_s=60)
    assert list(tmp_path.iterdir()) == []


def test_no_command_line_carries_the_signature(files: Files, tmp_path: Path) -> None:
    seen: list[bytes] = []

    def look(_: Progress) -> None:
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(line.read_bytes())
            except OSError:
                continue

    planned = plan(probe(files.url), Clip(Fraction(0), Fraction(4)), CUT)
    render(files.url, planned, tmp_path / "made.mp4", on_progress=look, timeout_s=60)
    assert any(b"engine_start" in line for line in seen)
    assert not any(SECRET.encode() in line for line in seen)


def listened_ports() -> set[int]:
    """The ports on which this process listens."""
    connections = psutil.Process().net_connections()
    return {each.laddr.port for each in connections if each.status == "LISTEN"}


def test_who_has_its_socket_gets_parts_and_nobody_else(files: Files, tmp_path: Path) -> None:
    before = listened_ports()
    with Relay(files.url, Cache(tmp_path)) as relay:
        descriptor = descriptor_of(relay.name)
        assert descriptor is not None
        connection = HTTPConnection("relay")
        connection.sock = connected(descriptor)

        def part(asked: str, least: int = 1) -> tuple[int, bytes]:
            headers = {"Range": asked, "Least": str(least)}
            connection.request("GET", "/", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

        size = len(files.content)
        assert part(f"bytes=0-{size - 1}", size) == (206, files.content)
        assert part("bytes=5-9") == (206, files.content[5:10])
        assert part(f"bytes={size}-{size}") == (416, b"")
        assert relay.remote.lost is relay.remote.trouble is None
        assert listened_ports() <= before


def test_more_connections_than_an_engine_has_are_refused(files: Files, tmp_path: Path) -> None:
    with Relay(files.url, Cache(tmp_path)) as relay, ExitStack() as stack:
        descriptor = descriptor_of(relay.name)
        assert descriptor is not None
        for _ in range(MOST_CONNECTIONS):
            stack.enter_context(connected(descriptor))
        with connected(descriptor) as one_more:
            assert one_more.recv(1) == b""
