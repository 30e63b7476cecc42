"""Telling hooks of the ends of jobs, to real receivers that check by the library of others."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cutmv.config import Settings
from cutmv.jobs import Claims, Deliveries, Delivery, Hook, Hooks, Job, retry
from cutmv.services import Services
from cutmv.web.hooks import HookSender, posting
from cutmv.web.hooks import sender as sender_module
from cutmv.web.hooks.posting import NotSent, post
from tests.support.jobs import add_job
from tests.support.processes import wait_for
from tests.support.receiver import Receiver, receiver


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    env = {"CUTMV_DATA_DIR": str(tmp_path), "CUTMV_URL": "https://cutmv.example.com/"}
    services = Services.open(Settings.from_env(env))
    yield services
    services.store.close()


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "LOOK_S", 0.05)


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def told_to(services: Services, there: Receiver, whose: str | None = None) -> Hook:
    """A hook that leads to a receiver, which knows its secret."""
    hook, there.secret = Hooks(services.store.engine).add(whose, there.url)
    return hook


def ended(services: Services, *clips: str, person_id: str | None = None) -> Job:
    """A job whose first step has failed, and that was cancelled then."""
    job = add_job(services.store, *(clips or ("0-1",)), person_id=person_id)
    claims = Claims(services.store, "a worker")
    claims.claim(job.steps[0].id, "eager")
    step = services.store.job(job.id).steps[0]
    assert claims.fail(step, "The clip can't be cut: Invalid data.")
    return services.store.cancel(job.id)


def latest(services: Services, hook: Hook) -> Delivery:
    return Deliveries(services.store.engine).of(hook)[0]


def make_due(services: Services) -> None:
    with services.store.engine.begin() as db:
        waits = "update hook_deliveries set due_at = 0 where due_at is not null"
        db.execute(sa.text(waits))


def attempt(services: Services) -> None:
    """Make the next attempt at each hook, now."""
    make_due(services)
    deliveries, sending = Deliveries(services.store.engine), HookSender(services, lambda: True)
    for delivery in deliveries.due():
        assert deliveries.claim(delivery)
        sending.send(delivery)


def test_a_receiver_is_told_what_was_made_and_what_failed(
    services: Services, there: Receiver
) -> None:
    hook, job = told_to(services, there), ended(services, "0-1", "1-2")

    attempt(services)

    assert latest(services, hook).state == "delivered"
    (request,) = there.received
    data = request.event["data"]
    assert request.event["type"] == "job.failed"
    assert request.event["version"] == 1
    assert request.id == f"msg_{latest(services, hook).id}"
    assert data["job"]["url"] == f"https://cutmv.example.com/api/jobs/{job.id}"
    assert data["job"]["state"] == "failed"
    assert data["upload"]["filename"] == "song.mp4"
    assert data["counts"] == {"wanted": 2, "made": 0, "failed": 1}
    (failure,) = data["failures"]
    assert failure["why"]["said"] == "The video is damaged where this clip is."
    assert request.headers["user-agent"].startswith("CUTMV/")


def test_what_is_sent_again_has_the_same_id(services: Services, there: Receiver) -> None:
    hook, there.statuses = told_to(services, there), [500, 302, 204]
    there.headers = {"Location": there.url, "Retry-After": "7"}
    ended(services)
    for _ in range(3):
        attempt(services)

    assert len(set(there.ids)) == 1
    assert len(there.received) == 3  # nobody has followed the redirect
    assert (latest(services, hook).state, latest(services, hook).attempts) == ("delivered", 3)


def test_a_receiver_that_is_gone_is_asked_no_more(services: Services, there: Receiver) -> None:
    hook, there.statuses = told_to(services, there), [410]
    ended(services)
    ended(services)

    attempt(services)

    assert "410" in str(Hooks(services.store.engine).get(None, hook.id).disabled_why)
    ended(services)
    make_due(services)
    assert Deliveries(services.store.engine).due() == []
    assert {each.state for each in Deliveries(services.store.engine).of(hook)} == {"failed"}
    assert len(there.received) == 1


def test_a_slow_receiver_holds_up_nobody_else(services: Services, there: Receiver) -> None:
    with receiver() as quick:
        slow = told_to(services, there)
        there.answers.clear()
        ended(services)
        quickly = told_to(services, quick)
        sending = HookSender(services, lambda: True)
        sending.look()
        wait_for(lambda: there.received, 30.0, "the slow one is asked")
        for _ in range(3):
            ended(services)

        sending.start()

        of = Deliveries(services.store.engine).of
        told = lambda: [each.state for each in of(quickly)] == ["delivered"] * 3  # noqa: E731
        wait_for(told, 30.0, "the quick one is told all")
        assert len(there.received) == 1  # one request at a time
        assert {each.state for each in of(slow)} == {"waiting"}
        there.answers.set()
        told_too = lambda: {each.state for each in of(slow)} == {"delivered"}  # noqa: E731
        wait_for(told_too, 30.0, "the slow one is told all, too")
        sending.close()


def hooks_of(services: Services, name: str, number: int, there: Receiver) -> list[Hook]:
    """Hooks of a new person's, one of whose jobs has ended; all lead to one receiver."""
    whose = str(services.accounts.add(f"{name}@example.com").id)
    add = Hooks(services.store.engine).add
    made = [add(whose, there.url)[0] for _ in range(number)]
    ended(services, person_id=whose)
    return made


def attempts(services: Services, hooks: list[Hook]) -> int:
    """How many requests to these have begun."""
    return sum(latest(services, hook).attempts for hook in hooks)


def are_told(services: Services, hooks: list[Hook]) -> bool:
    return {latest(services, hook).state for hook in hooks} == {"delivered"}


def test_four_slow_receivers_of_one_person_hold_up_the_fifth_and_nobody_else(
    services: Services, there: Receiver
) -> None:
    with receiver() as quick:
        there.answers.clear()
        slow = hooks_of(services, "slow", 5, there)
        quickly = hooks_of(services, "quick", 1, quick)
        sending = HookSender(services, lambda: True)

        sending.start()

        wait_for(lambda: are_told(services, quickly), 30.0, "the other person is told")
        wait_for(lambda: len(there.received) >= 4, 30.0, "four are asked")
        assert attempts(services, slow) == 4
        there.answers.set()
        wait_for(lambda: are_told(services, slow), 30.0, "the fifth is told, too")
        sending.close()


def test_all_receivers_together_have_sixteen_requests_at_once(
    services: Services, there: Receiver
) -> None:
    there.answers.clear()
    slow = [hook for n in range(5) for hook in hooks_of(services, f"slow-{n}", 4, there)]
    sending = HookSender(services, lambda: True)

    sending.look()
    sending.look()

    assert attempts(services, slow) == 16
    there.answers.set()
    sending.start()
    wait_for(lambda: are_told(services, slow), 30.0, "all are told")
    sending.close()


def test_an_end_that_is_undone_is_not_told(services: Services, there: Receiver) -> None:
    hook, job = told_to(services, there), ended(services)
    retry(services.store, job.steps[0].id)

    attempt(services)

    assert Deliveries(services.store.engine).of(hook) == []
    assert there.received == []


def test_a_test_is_told_at_once(services: Services, there: Receiver) -> None:
    hook = told_to(services, there)
    Deliveries(services.store.engine).add_test(hook)
    running = HookSender(services, lambda: True)
    running.start()

    wait_for(lambda: there.received, 30.0, "it comes")

    running.close()
    assert there.received[0].event["type"] == "webhook.test"
    assert there.received[0].event["data"] == {}


def send(url: str, *, anywhere: bool) -> int:
    return post(url, {"content-type": "application/json"}, b"{}", anywhere=anywhere).status


def leads_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Have every name lead to these addresses; the names that were looked up."""
    looked_up: list[str] = []
    really = socket.getaddrinfo

    def look_up(host: str, port: int, *more: Any, **named: Any) -> list[tuple[Any, ...]]:
        if not host.endswith(".example"):
            return really(host, port, *more, **named)
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(posting.socket, "getaddrinfo", look_up)
    return looked_up


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1"])
def test_a_name_that_leads_into_our_network_is_not_connected_to(
    there: Receiver, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    port = there.url.split(":")[2].partition("/")[0]
    leads_to(monkeypatch, "1.1.1.1", address)

    with pytest.raises(NotSent, match="not public"):
        send(f"http://hook.example:{port}/", anywhere=False)

    assert there.received == []


def test_a_name_is_looked_up_once_and_that_address_is_asked(
    there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = there.url.split(":")[2].partition("/")[0]
    looked_up = leads_to(monkeypatch, "127.0.0.1")
    monkeypatch.setattr(posting, "is_public", lambda address: address == "127.0.0.1")

    assert send(f"http://hook.example:{port}/x", anywhere=False) == 204

    assert looked_up == ["hook.example"]
    assert there.received[0].headers["host"] == f"hook.example:{port}"


def certificate(folder: Path, name: str) -> Path:
    """A certificate of a name, signed by itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    own, today = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "own.pem"
    path.write_bytes(key.private_bytes(pem, *plain) + made.public_bytes(pem))
    return path


def test_a_certificate_is_checked_against_the_name_and_not_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = certificate(tmp_path, "hook.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    leads_to(monkeypatch, "127.0.0.1")
    with receiver(certificate=own) as there:
        port = there.url.split(":")[2].partition("/")[0]

        assert send(f"https://hook.example:{port}/", anywhere=True) == 204
        with pytest.raises(NotSent, match="its certificate is not good"):
            send(f"https://another.example:{port}/", anywhere=True)

    assert len(there.received) == 1


def test_an_answer_that_comes_byte_by_byte_has_the_same_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(posting, "REQUEST_S", 0.4)
    over = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with closing(connection):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not over.wait(0.1):
                    try:
                        connection.sendall(b"X-A: b\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(NotSent, match="no answer within 0 s"):
            send(f"http://127.0.0.1:{listening.getsockname()[1]}/", anywhere=True)
        over.set()
        thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_receiver_that_says_nothing_is_given_up_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """By `https` it never begins TLS; by `http` it never reads, and what it is sent is long."""
    monkeypatch.setattr(posting, "REQUEST_S", 0.4)
    body = bytes(64_000_000 if scheme == "http" else 2)
    with ThreadPoolExecutor() as pool:
        # Closing it ends whoever waits on, too. Nobody accepts: the kernel does.
        with closing(socket.create_server(("127.0.0.1", 0))) as listening:
            url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/"
            asked = pool.submit(post, url, {}, body, anywhere=True)
            wait_for(asked.done, 10.0, "it is given up")
        with pytest.raises(NotSent, match="no answer within 0 s"):
            asked.result()


def test_what_is_no_receiver_is_told_in_words() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        answering = threading.Thread(target=lambda: _answer(listening, b"220 mail\r\n"))
        answering.start()
        with pytest.raises(NotSent, match="no answer that is HTTP"):
            send(f"http://127.0.0.1:{port}/", anywhere=True)
        answering.join()
    with pytest.raises(NotSent, match="no connection"):
        send(f"http://127.0.0.1:{port}/", anywhere=True)
    with pytest.raises(NotSent, match="its name is not known"):
        send("http://nobody.invalid/", anywhere=True)


def _answer(listening: socket.socket, text: bytes) -> None:
    connection, _ = listening.accept()
    received = b""
    with closing(connection):
        while not received.endswith(b"{}"):  # one that leaves bytes unread resets the connection
            received += connection.recv(1000)
        connection.sendall(text)
