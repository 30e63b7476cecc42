"""`cutmv remote` and the client below it, on a real server: files go and come whole, or go on."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cutmv.client import ApiError, Client
from cutmv.config import Settings
from cutmv.media import probe
from cutmv.services import Services
from tests.support.command import Done, cutmv
from tests.support.media import make_sample
from tests.support.processes import free_port
from tests.support.web_server import WebServer, web_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("remote")) as running:
        yield running


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of three parts, most of which players skip."""
    path = make_sample(tmp_path_factory.mktemp("v") / "my song.mp4", seconds=3.0, size=(160, 90))
    skipped = os.urandom(34_000_000)
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(skipped), b"free") + skipped)
    return path


def remote(server: WebServer, *argv: str | Path, **env: str) -> Done:
    return cutmv("remote", "--url", server.url, *map(str, argv), **env)


def test_a_file_is_cut_on_the_server_and_its_results_come_here(
    server: WebServer, video: Path, tmp_path: Path
) -> None:
    chosen = tmp_path / "list.txt"
    chosen.write_text("1-1.5 Hook\n")
    wanted = ("--clips", chosen, "--still", "--aspect", "1:1")

    done = remote(server, "cut", video, *wanted, "-o", tmp_path / "made")

    assert done.returncode == 0, done
    names = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert len(names) == 2
    assert {Path(line).name for line in done.stdout.splitlines()} == set(names)
    (clip,) = [name for name in names if name.endswith(".mp4") and "Hook" in name]
    assert probe(str(tmp_path / "made" / clip)).duration_s == pytest.approx(0.5, abs=0.05)

    again = remote(server, "jobs", "--json")
    (job,) = json.loads(again.stdout)["jobs"]
    assert (job["state"], job["filename"], len(job["steps"])) == ("done", "my song.mp4", 2)
    refused = remote(server, "download", job["id"], "-o", tmp_path / "made")
    assert refused.returncode == 1
    assert "is there already. Give --overwrite" in refused.stderr
    replaced = remote(server, "download", job["id"], "-o", tmp_path / "made", "--overwrite")
    assert replaced.returncode == 0
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == names
    assert "done" in remote(server, "jobs").stdout
    assert remote(server, "watch", job["id"]).returncode == 0


class Broken(Client):
    """A client whose line breaks when so many parts have gone."""

    def __init__(self, url: str, parts: int) -> None:
        super().__init__(url)
        self.left, self.sent = parts, 0

    def call(self, method: str, path: str, **more: Any) -> Any:
        if method == "PUT":
            if not self.left:
                raise KeyboardInterrupt
            self.left, self.sent = self.left - 1, self.sent + 1
        return super().call(method, path, **more)


def test_an_upload_that_broke_goes_on_where_it_was(server: WebServer, video: Path) -> None:
    told: list[int] = []
    with Broken(server.url, 1) as first, pytest.raises(KeyboardInterrupt):
        first.upload(video)
    with Broken(server.url, 99) as second:
        upload = second.upload(video, progressed=told.append)
        assert second.sent == 2
        assert (upload.filename, upload.size) == ("my song.mp4", video.stat().st_size)
        assert told[-1] == upload.size
        second.delete_upload(upload.id)
        with pytest.raises(ApiError, match="There is no upload") as unknown:
            second.uploaded(upload.id)
    assert unknown.value.status == 404


def test_a_download_that_broke_goes_on_where_it_was(
    server: WebServer, video: Path, tmp_path: Path
) -> None:
    with Client(server.url) as client:
        job = client.cut(client.upload(video).id, ["0-2"])
        *_, job = client.watch(job.id)
        (output,) = job.outputs
        (whole,) = client.download(job, tmp_path)
        content = whole.read_bytes()
        # What of it had come; bytes of the server's own would be seen in it.
        (tmp_path / f".{output.name}.part").write_bytes(b"?" * 100)
        whole.unlink()
        (gone_on,) = client.download(job, tmp_path)
    assert gone_on.read_bytes() == b"?" * 100 + content[100:]
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_a_key_opens_what_is_its_owners(tmp_path: Path) -> None:
    services = Services.open(Settings.from_env({"CUTMV_DATA_DIR": str(tmp_path / "data")}))
    person = services.accounts.add("ada@example.com", password="correct horse battery")
    _, key = services.api_keys.add(str(person.id), "remote")
    services.store.close()
    with web_server(tmp_path, host="0.0.0.0") as server:
        assert remote(server, "jobs", CUTMV_API_KEY=key).returncode == 0
        for wrong in ({}, {"CUTMV_API_KEY": "cutmv_none"}):
            refused = remote(server, "jobs", **wrong)
            assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
            assert "key" in refused.stderr.lower() or "sign in" in refused.stderr.lower()


def test_what_fails_is_told_in_one_line(server: WebServer, video: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video" * 100)
    nowhere = f"http://127.0.0.1:{free_port()}"
    for done, code, told in (
        (remote(server, "upload", text), 1, "use MP4"),
        (remote(server, "cut", "no-such-id", "--clip", "0-1"), 1, "There is no upload"),
        (remote(server, "download", "none"), 1, "There is no job none"),
        (remote(server, "cut", video, "--clip", "9-4"), 1, "9-4"),
        (cutmv("remote", "--url", nowhere, "cancel", "none"), 1, "can't be reached"),
    ):
        assert done.returncode == code, done
        last = done.stderr.splitlines()[-1]  # a bar may stand before it
        assert last.startswith("Error: ")
        assert told in last
    assert cutmv("remote", "--url", "ftp://x", "jobs").returncode == 2
