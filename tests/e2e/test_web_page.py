"""The page in a real headless Chromium, from a file to its clips, on a real server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageStat
from playwright.sync_api import Browser, Locator, Page, expect

from cutmv.media import probe
from tests.support.media import make_sample
from tests.support.pages import tab, upload
from tests.support.processes import wait_for
from tests.support.web_server import WebServer, web_server

#: Milliseconds for what takes FFmpeg some time on a busy machine.
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: WebServer) -> Iterator[Page]:
    """The page, on which no script may fail and nothing may break the content policy."""
    looks = {"viewport": {"width": 1200, "height": 900}, "accept_downloads": True}
    with tab(browser, server.url, PATIENCE_MS, **looks) as page:
        yield page


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "my song.mp4", seconds=12.0)


def bar(page: Page, name: str) -> float:
    return float(page.get_by_test_id(name).first.evaluate("bar => bar.value"))


def ready(video: Locator) -> int:
    """How much of itself a video element has; from 2 on it can show a frame."""
    return int(video.evaluate("video => video.readyState"))


def assert_not_blank(screenshot: Path) -> None:
    with Image.open(screenshot) as image:
        assert image.width >= 300
        assert max(ImageStat.Stat(image.convert("RGB")).stddev) > 8


def test_the_page_walks_from_a_file_to_its_clips(page: Page, video: Path, tmp_path: Path) -> None:
    expect(page.get_by_test_id("mode-badge")).to_have_text("eager")
    page.screenshot(path=tmp_path / "1-start.png", full_page=True)

    # Upload: the player shows the file, and one clip is proposed.
    upload(page, video)
    assert bar(page, "upload-bar") == 100
    player = page.get_by_test_id("player")
    wait_for(lambda: ready(player) >= 1, what="the player shows the file")
    assert abs(player.evaluate("player => player.duration") - 12.0) < 0.2
    expect(page.get_by_test_id("clip-row")).to_have_count(1)

    # Clips: one typed, one marked at the player's time.
    page.get_by_test_id("clip-start").first.fill("0:01")
    page.get_by_test_id("clip-end").first.fill("0:02.5")
    player.evaluate("player => { player.currentTime = 5 }")
    expect(page.get_by_test_id("clock")).to_have_text("0:05.000")
    page.get_by_test_id("add-clip").click()
    player.evaluate("player => { player.currentTime = 6 }")
    expect(page.get_by_test_id("clock")).to_have_text("0:06.000")
    page.get_by_test_id("mark-out").click()
    expect(page.get_by_test_id("clip-start").nth(1)).to_have_value("0:05.000")
    expect(page.get_by_test_id("clip-end").nth(1)).to_have_value("0:06.000")
    page.get_by_test_id("aspect-9:16").check()
    page.get_by_test_id("gif").check()
    page.get_by_test_id("still").check()
    page.screenshot(path=tmp_path / "2-clips.png", full_page=True)

    # The bar is watched from the first moment.
    page.evaluate(
        """() => {
          window.seen = [];
          const bar = document.querySelector("#job-bar");
          const note = () => { seen.push(bar.value); requestAnimationFrame(note); };
          note();
        }"""
    )
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("job-state")).to_have_text("done", timeout=PATIENCE_MS)
    seen = page.evaluate("() => window.seen")
    assert bar(page, "job-bar") == 100
    assert len({value for value in seen if 0 < value < 100}) >= 2, "the bar did not move"
    assert seen == sorted(seen)
    expect(page.get_by_test_id("step")).to_have_count(8)
    expect(page.get_by_test_id("cancel")).to_be_hidden()

    # How they were made is told where it is asked for.
    made = page.get_by_test_id("made").first
    expect(made.get_by_role("listitem").first).to_be_hidden()
    made.get_by_text("How it was made").click()
    expect(made).to_contain_text("frames")
    expect(made).to_contain_text("written.")

    # Results play, seek and show.
    result = page.get_by_test_id("result-cutdown").first
    result.scroll_into_view_if_needed()
    wait_for(lambda: ready(result) >= 2, what="the result can be played")
    assert abs(result.evaluate("video => video.duration") - 1.5) < 0.1
    played = result.evaluate(
        """async video => {
          video.muted = true;
          await video.play();
          await new Promise(done => video.addEventListener("timeupdate", done, { once: true }));
          video.pause();
          video.currentTime = 1;
          await new Promise(done => video.addEventListener("seeked", done, { once: true }));
          return video.currentTime;
        }"""
    )
    assert played == pytest.approx(1.0, abs=0.01)
    for kind in ("result-gif", "result-still"):
        picture = page.get_by_test_id(kind).first
        picture.scroll_into_view_if_needed()
        picture.evaluate("image => image.decode()")
        assert picture.evaluate("image => image.naturalWidth") > 0
    page.screenshot(path=tmp_path / "3-results.png", full_page=True)

    # What is downloaded is the clip.
    with page.expect_download() as downloading:
        page.get_by_test_id("download").first.click()
    downloaded = tmp_path / downloading.value.suggested_filename
    downloading.value.save_as(downloaded)
    assert downloaded.suffix == ".mp4"
    info = probe(str(downloaded))
    assert float(info.duration_s) == pytest.approx(1.5, abs=0.05)
    assert info.audio

    # A fresh page lists the job, opens it, and plays its source from the server to cut more.
    page.goto(page.url.partition("#")[0])
    page.get_by_test_id("recent-job").first.click()
    expect(page.get_by_test_id("job-state")).to_have_text("done")
    page.get_by_test_id("reuse").click()
    wait_for(lambda: ready(player) >= 2, what="the player plays from the server")
    assert "/api/uploads/" in page.get_by_test_id("player").evaluate("player => player.src")
    expect(page.get_by_test_id("start")).to_be_enabled()
    for name in ("1-start.png", "2-clips.png", "3-results.png"):
        assert_not_blank(tmp_path / name)


def test_a_video_is_dropped_on_the_page(page: Page, video: Path) -> None:
    transfer = page.evaluate_handle(
        """text => {
          const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], "dropped.mp4", { type: "video/mp4" }));
          return transfer;
        }""",
        base64.b64encode(video.read_bytes()).decode(),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})

    expect(page.get_by_test_id("upload-state").first).to_have_text("ready", timeout=PATIENCE_MS)
    expect(page.get_by_text("dropped.mp4")).to_be_visible()


def test_clips_are_dragged_on_the_timeline_by_pointer_and_key(page: Page, video: Path) -> None:
    upload(page, video)
    page.get_by_test_id("timeline").scroll_into_view_if_needed()
    box = page.get_by_test_id("timeline").bounding_box()
    assert box

    def x(seconds: float) -> float:
        return box["x"] + box["width"] * seconds / 12.0

    def drag(grip: str, to: float) -> None:
        held = page.get_by_test_id(grip).bounding_box()
        assert held
        page.mouse.move(held["x"] + held["width"] / 2, held["y"] + held["height"] / 2)
        page.mouse.down()
        page.mouse.move(x(to), held["y"] + 5, steps=5)
        page.mouse.up()

    drag("grip-end", 6.0)
    drag("grip-start", 2.0)
    drag("grip-body", 8.0)
    page.get_by_test_id("grip-end").press("Shift+ArrowLeft")

    start, end = page.evaluate(
        """async () => {
          const { parseTime } = await import("/static/times.js");
          return ["start", "end"].map((side) =>
            parseTime(document.querySelector(`.clip-row .${side}`).value, { duration: 0 }));
        }"""
    )
    assert start == pytest.approx(6.0, abs=0.1)
    assert end == pytest.approx(9.0, abs=0.1)


def test_a_list_is_cut_its_labels_name_the_results_and_its_address_opens_it_again(
    page: Page, video: Path
) -> None:
    upload(page, video)
    page.get_by_test_id("clip-remove").click()
    expect(page.get_by_test_id("start")).to_be_disabled()
    page.get_by_text("Paste a list of clips").click()

    page.get_by_test_id("clip-list").fill("0:01-0:01.5 Hook\nnonsense")
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("error")).to_contain_text("Line 2 can't be read, 'nonsense'")
    # Letters that are keys elsewhere are typed here.
    page.get_by_test_id("clip-list").fill("0:01-0:01.5 Hook")
    page.get_by_test_id("clip-list").press("a")
    expect(page.get_by_test_id("clip-row")).to_have_count(0)
    page.get_by_test_id("add-clip").click()
    page.get_by_test_id("clip-start").fill("-1s")
    page.get_by_test_id("clip-end").fill("end")
    page.get_by_test_id("start").click()

    expect(page.get_by_test_id("job-state")).to_have_text("done", timeout=PATIENCE_MS)
    for name in ("my_song-01-source.mp4", "my_song-Hooka-source.mp4"):
        expect(page.get_by_text(f"Download {name}")).to_be_visible()

    page.reload()

    expect(page.get_by_test_id("job-state")).to_have_text("done")
    expect(page.get_by_test_id("step")).to_have_count(2)


def test_an_output_a_job_and_a_video_are_deleted_once_that_is_confirmed(
    page: Page, server: WebServer, video: Path
) -> None:
    upload(page, video)
    page.get_by_text("Paste a list of clips").click()
    page.get_by_test_id("clip-list").fill("0:02-0:02.5")
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("job-state")).to_have_text("done", timeout=PATIENCE_MS)
    job = page.get_by_test_id("job").get_attribute("data-job") or ""
    kept = lambda: [path for path in server.stored() if job in path.parts]  # noqa: E731
    assert len(kept()) == 2

    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_test_id("delete-output").first.click()
    expect(page.get_by_test_id("delete-output")).to_have_count(2)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_test_id("delete-output").first.click()
    expect(page.get_by_test_id("delete-output")).to_have_count(1)
    expect(page.get_by_test_id("step").first).to_contain_text("deleted")
    assert len(kept()) == 1

    page.get_by_test_id("delete-upload").click()
    expect(page.get_by_test_id("job")).to_be_hidden()
    expect(page.locator(f'[data-job="{job}"][data-testid="recent-job"]')).to_have_count(0)
    assert kept() == []


def test_a_video_of_which_nothing_was_cut_is_deleted(
    page: Page, server: WebServer, video: Path
) -> None:
    before = set(server.stored())
    upload(page, video)
    assert [each for each in set(server.stored()) - before if "uploads" in each.parts]
    page.on("dialog", lambda dialog: dialog.accept())

    page.get_by_test_id("delete-source").click()

    expect(page.locator("#editor")).to_be_hidden()
    # Whoever looks at the video meanwhile leaves nothing either, but ends at its own time.
    wait_for(lambda: set(server.stored()) <= before, 30, "nothing of it is left")


def test_a_wrong_clip_is_marked_and_can_not_be_started(page: Page, video: Path) -> None:
    upload(page, video)
    start = page.get_by_test_id("start")
    expect(start).to_be_enabled()

    page.get_by_test_id("clip-end").fill("0:00")
    expect(page.get_by_text("The end must come after the start.")).to_be_visible()
    expect(start).to_be_disabled()

    page.get_by_test_id("clip-end").fill("soon")
    expect(page.get_by_text("Write a time as")).to_be_visible()
    expect(start).to_be_disabled()


def test_what_the_server_refuses_is_told(page: Page, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("These are notes, not a video. " * 100)

    page.get_by_test_id("file-input").set_input_files(text)

    expect(page.get_by_test_id("error")).to_contain_text("we can read: use MP4")
    expect(page.get_by_test_id("upload-state").first).to_have_text("refused")


def test_a_running_job_is_cancelled_from_the_page(page: Page, video: Path) -> None:
    upload(page, video)
    for aspect in ("9:16", "16:9", "1:1"):
        page.get_by_test_id(f"aspect-{aspect}").check()
    for _ in range(5):
        page.get_by_test_id("add-clip").click()
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("job-state")).to_have_text("running")

    page.get_by_test_id("cancel").click()

    expect(page.get_by_test_id("job-state")).to_have_text("cancelled")
    expect(page.get_by_test_id("cancel")).to_be_hidden()


def test_a_broken_line_comes_back_by_itself(page: Page, video: Path) -> None:
    # Every second WebSocket breaks after its first message.
    page.add_init_script(
        """
        const Real = WebSocket;
        let opened = 0;
        window.WebSocket = class extends Real {
          constructor(...given) {
            super(...given);
            if (opened++ % 2 === 0) this.addEventListener("message", () => this.close());
          }
        };
        window.socketsOpened = () => opened;
        """
    )
    page.reload()
    upload(page, video)
    page.get_by_test_id("clip-end").fill("0:02")
    page.get_by_test_id("aspect-1:1").check()
    page.get_by_test_id("start").click()

    expect(page.get_by_test_id("job-state")).to_have_text("done", timeout=PATIENCE_MS)
    assert page.evaluate("() => socketsOpened()") >= 2


def test_the_page_fits_a_phone(browser: Browser, server: WebServer, tmp_path: Path) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto(server.url)
    expect(page.get_by_test_id("mode-badge")).to_have_text("eager")

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    shot = tmp_path / "phone.png"
    page.screenshot(path=shot, full_page=True)
    assert_not_blank(shot)
    context.close()


def test_every_field_has_a_name_for_those_who_listen(page: Page, video: Path) -> None:
    upload(page, video)

    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, button, progress, video, [role=slider]")]
          .filter((field) => !field.closest("template") && !(field.labels?.length
            || field.getAttribute("aria-label") || field.textContent.trim()))
          .map((field) => field.outerHTML)"""
    )

    assert nameless == []


def test_the_form_asks_for_each_product(page: Page, video: Path) -> None:
    upload(page, video)
    page.get_by_test_id("clip-start").fill("0:01")
    page.get_by_test_id("clip-end").fill("0:05")
    page.get_by_test_id("aspect-source").uncheck()
    page.get_by_test_id("preset-reels").check()
    page.get_by_label("WebP").check()
    page.get_by_label("Best still").check()
    page.get_by_label("FLAC").check()
    page.get_by_label("Rebound").check()
    page.get_by_text("Loudness, fades and more").click()
    page.get_by_label("Podcast, -16 LUFS").check()
    page.get_by_test_id("centre-0").fill("0.3")
    page.get_by_label("Fade, seconds").fill("0.5")
    refusal = {"status": 422, "detail": "Not today."}
    page.route("**/api/jobs", lambda route: route.fulfill(status=422, json=refusal))

    with page.expect_request("**/api/jobs") as asked:
        page.get_by_test_id("start").click()

    expect(page.get_by_test_id("error")).to_have_text("Not today.")
    body = asked.value.post_data_json
    assert body.pop("upload_id")
    assert body == {
        "wanted_clips": [{"text": "0:01-0:05", "label": ""}],
        "clip_list": "",
        "encoder": "software",
        "aspects": [],
        "presets": ["reels"],
        "gif": False,
        "webp": True,
        "still": False,
        "best": True,
        "sounds": ["flac"],
        "canvas": "rebound",
        "loudness": "podcast",
        "centre": [0.3, 0.5],
        "fade_s": 0.5,
        "exact_copy": "auto",
        "remove_bars": False,
        "audio": [],
        "join": False,
    }


def test_a_job_is_made_by_a_preset(page: Page, video: Path) -> None:
    upload(page, video)
    page.get_by_test_id("clip-start").fill("0:01")
    page.get_by_test_id("clip-end").fill("0:01.4")
    page.get_by_test_id("aspect-source").uncheck()
    page.get_by_test_id("preset-reels").check()

    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("job-state")).to_have_text("done", timeout=PATIENCE_MS)

    links = page.get_by_test_id("download").all_inner_texts()
    assert links == ["Download my_song-01-reels.mp4"]
    film = page.get_by_test_id("result-cutdown")
    film.scroll_into_view_if_needed()
    wait_for(lambda: ready(film) >= 1, what="the film is shown")
    assert film.evaluate("video => [video.videoWidth, video.videoHeight]") == [1080, 1920]


@pytest.mark.slow
def test_suggested_clips_are_taken_one_by_one(page: Page, video: Path) -> None:
    upload(page, video)
    page.get_by_test_id("clip-remove").click()

    page.get_by_test_id("suggest").click()

    expect(page.get_by_test_id("suggest-notes")).to_contain_text("beat")
    rows, suggestions = page.get_by_test_id("clip-row"), page.get_by_test_id("suggestion")
    expect(suggestions).to_have_count(2)
    expect(rows).to_have_count(0)
    page.get_by_test_id("suggestion-take").first.click()
    expect(rows).to_have_count(1)
    expect(suggestions).to_have_count(1)
    page.get_by_test_id("take-all").click()
    expect(rows).to_have_count(2)
    expect(page.get_by_test_id("take-all")).to_be_hidden()
    spans = sorted(
        tuple(
            float(row.get_by_test_id(f"clip-{side}").input_value()[2:]) for side in ("start", "end")
        )
        for row in rows.all()
    )
    assert spans[0][1] <= spans[1][0]
    expect(page.get_by_test_id("start")).to_be_enabled()
