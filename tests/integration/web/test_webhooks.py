"""Webhooks of people, on a real server: by API, command and page, to the receiver of the docs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cutmv.client import ApiError, Client
from cutmv.config import Settings
from cutmv.services import Services
from tests.support.command import cutmv
from tests.support.media import make_sample
from tests.support.processes import free_port, wait_for
from tests.support.receiver import receiver
from tests.support.web_server import WebServer, web_server

DOCS = Path(__file__).parents[3] / "docs" / "webhooks.md"


@contextmanager
def documented_receiver(folder: Path, secret: str, port: int) -> Iterator[Path]:
    """The receiver of the docs, as it is written there; what it prints is in the file."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    program, printed = folder / "receiver.py", folder / "receiver.txt"
    program.write_text(code)
    env = {**os.environ, "SECRET": secret, "PORT": str(port)}
    with printed.open("wb") as out:
        process = subprocess.Popen([sys.executable, str(program)], env=env, stdout=out)
        try:
            yield printed
        finally:
            process.terminate()
            process.wait(20)


def make_job(client: Client, folder: Path) -> str:
    video = make_sample(folder / "my song.mp4", seconds=1.0, size=(160, 90))
    return client.cut(client.upload(video).id, ["0-0.5"], aspects=[], still=True).id


@pytest.mark.slow
def test_the_documented_receiver_is_told_of_a_job_and_of_a_test(tmp_path: Path) -> None:
    port = free_port()
    with web_server(tmp_path) as server, Client(server.url) as me:
        url = f"http://127.0.0.1:{port}/hook"
        added = cutmv("remote", "--url", server.url, "webhooks", "add", url)
        assert added.returncode == 0, added
        hook_id, secret = added.stdout.split()
        with documented_receiver(tmp_path, secret, port) as printed:
            job_id = make_job(me, tmp_path)

            wait_for(lambda: "job.completed" in printed.read_text(), 120.0, "it is told")

            assert f"['/api/jobs/{job_id}/outputs/" in printed.read_text()
            tested = cutmv("remote", "--url", server.url, "webhooks", "test", hook_id)
            assert tested.returncode == 0, tested
            wait_for(lambda: "webhook.test []" in printed.read_text(), 60.0, "the test comes")
            all_told = lambda: {each.state for each in me.deliveries(hook_id)} == {"delivered"}  # noqa: E731
            wait_for(all_told, 30.0, "that is noted")
        log = cutmv("remote", "--url", server.url, "webhooks", "log", hook_id)
        assert f"job.completed  {job_id}" in log.stdout
        shown = httpx.get(f"{server.url}/webhooks").text
        assert url in shown
        assert "delivered: HTTP 204" in shown
        assert secret not in shown + server.process.log


@pytest.mark.slow
def test_what_a_killed_server_had_begun_to_tell_is_told_by_the_next(tmp_path: Path) -> None:
    with receiver() as there:
        there.answers.clear()
        with web_server(tmp_path) as server, Client(server.url) as me:
            hook = me.add_webhook(there.url)
            there.secret = hook.secret
            make_job(me, tmp_path)
            wait_for(lambda: there.received, 120.0, "it is told")
            server.process.kill()
        there.answers.set()

        with web_server(tmp_path) as server, Client(server.url) as me:
            wait_for(lambda: len(there.received) > 1, 150.0, "it is told again")
            done = lambda: [each.state for each in me.deliveries(hook.id)] == ["delivered"]  # noqa: E731
            wait_for(done, 30.0, "that is noted")

    assert len(set(there.ids)) == 1
    assert set(there.types) == {"job.completed"}


def signed_in(server: WebServer, name: str) -> Client:
    """A person of a server where people sign in."""
    env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(server.data_dir)}
    services = Services.open(Settings.from_env(env))
    person = services.accounts.add(f"{name}@example.com")
    _, key = services.api_keys.add(str(person.id), "a test's")
    services.store.close()
    return Client(server.url, key)


@pytest.mark.slow
def test_where_people_sign_in_webhooks_lead_to_the_public_network_unless_any_may(
    tmp_path: Path,
) -> None:
    private = ["http://127.0.0.1/", "https://10.0.0.1/", "https://localhost/", "http://a.example/"]
    with web_server(tmp_path, CUTMV_SIGN_IN="always") as server, signed_in(server, "ann") as ann:
        for url in private:
            with pytest.raises(ApiError) as refused:
                ann.add_webhook(url)
            assert refused.value.status == 422
        assert ann.add_webhook("https://example.com/hook").enabled
    (tmp_path / "any").mkdir()
    env = {"CUTMV_SIGN_IN": "always", "CUTMV_WEBHOOK_TARGETS": "any"}
    with web_server(tmp_path / "any", **env) as server, signed_in(server, "ann") as ann:
        assert all(ann.add_webhook(url).enabled for url in private)


def test_a_webhook_is_managed_by_the_command_and_the_page(tmp_path: Path) -> None:
    with web_server(tmp_path) as server, Client(server.url) as me:
        page = f"{server.url}/webhooks"
        added = httpx.post(page, data={"url": "https://example.com/hook"})
        (secret,) = re.findall(r"whsec_[\w+/=]{44}", added.text)
        (hook,) = me.webhooks()
        assert hook.secret is None
        assert secret not in httpx.get(page).text

        def act(what: str) -> httpx.Response:
            return httpx.post(f"{page}/{hook.id}", data={"do": what})

        renewed = cutmv("remote", "--url", server.url, "webhooks", "secret", hook.id)
        assert re.fullmatch(rf"{hook.id}  whsec_\S+\n", renewed.stdout)
        assert secret not in renewed.stdout
        assert act("secret").status_code == 200
        assert act("disable").status_code == 303
        assert me.webhooks()[0].disabled_why == "You have disabled it."
        refused = cutmv("remote", "--url", server.url, "webhooks", "test", hook.id)
        assert refused.returncode == 1
        assert "The webhook is disabled: enable it first." in refused.stderr
        enabled = cutmv("remote", "--url", server.url, "webhooks", "enable", hook.id)
        assert enabled.returncode == 0
        assert "enabled" in cutmv("remote", "--url", server.url, "webhooks", "ls").stdout
        assert act("nonsense").status_code == 422
        assert act("delete").status_code == 303
        assert me.webhooks() == []
        assert act("delete").status_code == 404
        assert httpx.post(page, data={"url": "nonsense"}).status_code == 422
