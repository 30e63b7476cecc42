"""Uploads in a real browser: the server is killed, the network goes, the tab is closed."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import psutil
import pytest
from playwright.sync_api import Browser, CDPSession, Page, Request, expect

from cutmv.client import Client
from tests.support.media import make_sample
from tests.support.pages import PATIENCE_MS, tab
from tests.support.processes import free_port, wait_for
from tests.support.s3 import BUCKET, KEY_ID, SECRET, Line
from tests.support.web_server import WebServer, web_server

pytestmark = pytest.mark.slow

#: A network that is off.
OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
#: Bytes of a part, and the parts of the video.
PART, PARTS = 16 * 1_048_576, 4


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of several parts, most of which players skip."""
    path = make_sample(tmp_path_factory.mktemp("video") / "long song.mp4", seconds=2.0)
    skipped = os.urandom(PART * (PARTS - 1))
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(skipped), b"free") + skipped)
    return path


def slow(page: Page, bytes_a_second: int) -> CDPSession:
    """Have the browser send no faster, until the session that is returned is detached."""
    network = {"offline": False, "latency": 0, "downloadThroughput": -1}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", network | {"uploadThroughput": bytes_a_second})
    return session


def stored(url: str) -> list[int]:
    """The parts of the one upload that has begun."""
    api = "/api/multipart-uploads"
    with Client(url) as client:
        (begun,) = client.call("GET", api)["uploads"] or [None]
        told = client.call("GET", f"{api}/{begun['id']}") if begun else {"stored": []}
    return [part["number"] for part in told["stored"]]


def begin(page: Page, server: WebServer, video: Path) -> CDPSession:
    """Have a part of the video stored, by a slow line, which is as that of `slow`."""
    line = slow(page, 6_000_000)
    page.get_by_test_id("file-input").set_input_files(video)
    wait_for(lambda: stored(server.url), 60.0, "a part is stored")
    return line


def sendings(page: Page) -> list[SplitResult]:
    """Where the page sends parts from now on, one for each try."""
    sent: list[SplitResult] = []

    def note(request: Request) -> None:
        if request.method == "PUT":
            sent.append(urlsplit(request.url))

    page.on("request", note)
    return sent


def parts(sent: list[SplitResult]) -> list[int]:
    """The parts that were sent to the server."""
    return [int(each.path.rpartition("/")[2]) for each in sent]


def uploads(server: WebServer) -> list[Path]:
    """The uploads that the server keeps; beside each is what it has made of it to show it."""
    return [each for each in server.stored() if each.name == "source"]


def assert_kept(server: WebServer, video: Path) -> None:
    """The server has the video once, whole, and no other."""
    (kept,) = uploads(server)
    assert kept.stat().st_size == video.stat().st_size
    assert file_hash(kept) == file_hash(video)


def file_hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def test_it_goes_on_when_the_server_is_killed_and_comes_back(
    browser: Browser, video: Path, tmp_path: Path
) -> None:
    port = free_port()
    with web_server(tmp_path, port=port) as first, tab(browser, first.url) as page:
        line = slow(page, 6_000_000)
        page.get_by_test_id("file-input").set_input_files(video)
        expect(page.get_by_test_id("upload-state")).to_have_text(
            re.compile(r"\d+ % · [\d.]+ MB/s · .+ left")
        )
        wait_for(lambda: stored(first.url), 60.0, "a part is stored")
        first.process.kill()
        expect(page.get_by_test_id("upload-state")).to_have_text("waiting for the network…")
        with web_server(tmp_path, port=port) as second:
            line.detach()
            expect(page.get_by_test_id("upload-state")).to_have_text("ready", timeout=PATIENCE_MS)
            expect(page.get_by_test_id("start")).to_be_enabled()
            assert_kept(second, video)


def test_it_waits_while_the_network_is_off_and_sends_no_part_twice(
    browser: Browser, video: Path, tmp_path: Path
) -> None:
    with web_server(tmp_path) as server, tab(browser, server.url) as page:
        line = begin(page, server, video)
        line.send("Network.emulateNetworkConditions", OFFLINE)
        expect(page.get_by_test_id("upload-state")).to_have_text("waiting for the network…")
        there = stored(server.url)
        sent = sendings(page)

        line.detach()

        expect(page.get_by_test_id("upload-state")).to_have_text("ready", timeout=PATIENCE_MS)
        assert not {*parts(sent)} & {*there}
        assert_kept(server, video)


def test_a_phone_that_sleeps_goes_on_when_it_wakes(
    browser: Browser, video: Path, tmp_path: Path
) -> None:
    """Its network goes, and its page is frozen: no script of it runs until it wakes."""
    with web_server(tmp_path) as server, tab(browser, server.url) as page:
        line = begin(page, server, video)
        phone = page.context.new_cdp_session(page)
        line.send("Network.emulateNetworkConditions", OFFLINE)
        phone.send("Page.setWebLifecycleState", {"state": "frozen"})
        port = urlsplit(server.url).port

        def sends() -> bool:
            [worker] = psutil.Process(server.process.child.pid).children()
            lines = worker.net_connections("tcp")
            return any(each.laddr.port == port and each.raddr for each in lines)

        # A part that had come by then may still be stored.
        wait_for(lambda: not sends(), 60.0, "its connections have ended")
        there = stored(server.url)
        assert 0 < len(there) < PARTS
        sent = sendings(page)

        line.detach()
        phone.send("Page.setWebLifecycleState", {"state": "active"})

        expect(page.get_by_test_id("upload-state")).to_have_text("ready", timeout=PATIENCE_MS)
        assert not {*parts(sent)} & {*there}
        assert_kept(server, video)


def test_a_closed_tab_leaves_what_was_sent_and_the_file_goes_on_from_there(
    browser: Browser, video: Path, tmp_path: Path
) -> None:
    with web_server(tmp_path) as server:
        with tab(browser, server.url) as page:
            begin(page, server, video)
            dialogs: list[str] = []
            page.on("dialog", lambda dialog: (dialogs.append(dialog.type), dialog.dismiss()))
            page.get_by_role("heading", name="CUTMV").click()  # a page asks whom it knows alone
            page.close(run_before_unload=True)
            wait_for(lambda: page.wait_for_timeout(50) or dialogs, 10.0, "the page asks first")
            assert dialogs == ["beforeunload"]
        there = stored(server.url)
        assert there
        with tab(browser, server.url) as page:
            expect(page.get_by_test_id("upload")).to_contain_text("long song.mp4")
            expect(page.get_by_test_id("upload-state")).to_contain_text("choose the file again")
            sent = sendings(page)
            page.get_by_test_id("file-input").set_input_files(video)
            expect(page.get_by_test_id("upload-state")).to_have_text("ready", timeout=PATIENCE_MS)
        assert sorted(parts(sent)) == sorted({*range(1, PARTS + 1)} - {*there})
        assert_kept(server, video)


def test_it_pauses_goes_on_and_is_cancelled_and_several_go_at_once(
    browser: Browser, video: Path, tmp_path: Path
) -> None:
    other = make_sample(tmp_path / "other.mp4", seconds=1.0)
    with web_server(tmp_path) as server, tab(browser, server.url) as page:
        slow(page, 4_000_000)
        page.get_by_test_id("file-input").set_input_files([video, other])
        rows = page.get_by_test_id("upload")
        expect(rows).to_have_count(2)
        long, short = rows.filter(has_text="long song"), rows.filter(has_text="other")
        state = long.get_by_test_id("upload-state")
        expect(state).to_have_text(re.compile(r"^\d+ %"))
        long.get_by_test_id("upload-pause").click()
        expect(state).to_have_text("paused")
        expect(short.get_by_test_id("upload-state")).to_have_text("ready", timeout=PATIENCE_MS)
        expect(page.get_by_test_id("start")).to_be_disabled()  # the editor shows the first of them
        short.get_by_test_id("upload-cut").click()
        expect(page.get_by_test_id("start")).to_be_enabled()
        long.get_by_test_id("upload-pause").click()
        expect(state).to_have_text(re.compile(r"^\d+ %"))
        long.get_by_test_id("upload-cancel").click()
        expect(rows).to_have_count(1)
        wait_for(lambda: len(uploads(server)) == 1, what="nothing is left of it")
        assert_kept(server, other)


def on_r2(url: str) -> dict[str, str]:
    """The settings by which R2 is at a URL."""
    keys = {"R2_ACCESS_KEY_ID": KEY_ID, "R2_SECRET_ACCESS_KEY": SECRET}
    return {"R2_ENDPOINT_URL": url, "R2_BUCKET": BUCKET, **keys}


def test_the_parts_go_to_r2_itself_or_to_us_where_it_does_not_let_them(
    browser: Browser, video: Path, tmp_path: Path, s3_url: str
) -> None:
    with web_server(tmp_path, **on_r2(s3_url)) as server:
        for allowed in (True, False):
            with tab(browser, server.url) as page:
                sent = sendings(page)
                if not allowed:  # as R2 does without a rule for the page's origin
                    page.route(f"{s3_url}/**", lambda route: route.abort("failed"))
                page.get_by_test_id("file-input").set_input_files(video)
                expect(page.get_by_test_id("upload-state")).to_have_text(
                    "ready", timeout=PATIENCE_MS
                )
            asked = [each.netloc for each in sent]
            of_storage = asked.count(urlsplit(s3_url).netloc)
            assert of_storage >= PARTS if allowed else of_storage < len(asked)
            assert asked.count(urlsplit(server.url).netloc) == (0 if allowed else PARTS)


def test_parts_that_are_lost_on_their_way_to_r2_go_there_again(
    browser: Browser, video: Path, tmp_path: Path, s3_url: str
) -> None:
    """However often their first bytes got there: so the browser may send them."""
    way = Line(s3_url)
    with web_server(tmp_path, **on_r2(way.url)) as server, tab(browser, server.url) as page:
        line, sent = slow(page, 6_000_000), sendings(page)
        page.get_by_test_id("file-input").set_input_files(video)
        state = page.get_by_test_id("upload-state")
        for _ in range(2):
            expect(state).to_have_text(re.compile(r"^[1-9]\d* % · "))
            way.cut()
            way.mend()
            expect(state).to_have_text("waiting for the network…")
        line.detach()
        expect(state).to_have_text("ready", timeout=PATIENCE_MS)
        assert len(sent) > PARTS
        assert {each.netloc for each in sent} == {urlsplit(way.url).netloc}
    way.close()
