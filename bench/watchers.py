"""Many who watch jobs by WebSockets, and workers that tell of these jobs, for `bench/web.py`.

Each is a process of its own. An event carries the time at which it was sent, by the clock that all
processes of a machine share (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.parse import urlencode

import httpx
from wsproto import WSConnection
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

from cutmv.config import Settings
from cutmv.jobs import Claims, JobStore
from cutmv.media import Progress
from cutmv.progress import WEBHOOK
from cutmv.services import Services
from cutmv.transports.cloudflare.edge.signature import sign
from tests.support.web_server import WEBHOOK_SECRET

#: Events a second of each job, and seconds between the heartbeats that the job store gets of it.
RATE, BEAT_S = 4, 5.0
#: Seconds that a claim lasts: nothing ends while the machine is busy.
LEASE_S = 3_600.0
#: Seconds of the naps by which a process sees how long it waits for a processor.
NAP_S = 0.01
#: Workers, each with a part of the jobs.
WORKERS = 10
#: Connections that are opened at a time.
OPENING = 20


@dataclass(frozen=True)
class Watched:
    """A job, its one step, and the API key of the person whose job it is."""

    job_id: str
    step_id: str
    key: str


@dataclass
class Seen:
    """What the clients got: seconds from each event to each client, and how many closed early.

    `late` are the seconds by which the clients' process overslept its naps.
    """

    took: list[float]
    late: list[float]
    others: int = 0
    closed: int = 0


class Client(asyncio.Protocol):
    """A client that watches one job, in the list's WebSocket or in the job's own."""

    def __init__(self, port: int, job: Watched, seen: Seen, *, alone: bool) -> None:
        path = f"/ws/jobs/{job.job_id}"
        target = path if alone else f"/ws/jobs?{urlencode({'watch': job.job_id})}"
        authorization = (b"Authorization", f"Bearer {job.key}".encode())
        self._request = Request(f"localhost:{port}", target, extra_headers=[authorization])
        self._line = WSConnection(ConnectionType.CLIENT)
        self._seen, self._text = seen, ""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol: ask for the WebSocket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._line.send(self._request))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol: note what comes."""
        now = time.monotonic()
        self._line.receive_data(data)
        for event in self._line.events():
            if isinstance(event, AcceptConnection):
                self.opened.set_result(None)
            elif isinstance(event, Ping):
                self.transport.write(self._line.send(event.response()))
            elif isinstance(event, CloseConnection):
                self._seen.closed += 1
            elif isinstance(event, TextMessage):
                self._text += event.data
                if event.message_finished:
                    text, self._text = self._text, ""
                    self._take(json.loads(text), now)

    def _take(self, message: dict[str, object], now: float) -> None:
        sent = message.get("eta_s")
        if message["type"] == "progress" and isinstance(sent, float) and sent > 0:
            self._seen.took.append(now - sent)
        else:
            self._seen.others += 1


def watch(
    port: int, jobs: Sequence[Watched], each: int, stop: Event, ready: Event, found: Connection
) -> None:
    """Have `each` clients watch each job until `stop`; set `ready` once all are there."""
    found.send(asyncio.run(_watch(port, jobs, each, stop, ready)))


async def _watch(
    port: int, jobs: Sequence[Watched], each: int, stop: Event, ready: Event
) -> tuple[Seen, float]:
    loop, seen, gate = asyncio.get_running_loop(), Seen([], []), asyncio.Semaphore(OPENING)
    began = time.monotonic()

    async def opened(job: Watched, number: int) -> Client:
        async with gate:
            client = Client(port, job, seen, alone=bool(number % 2))
            await loop.create_connection(lambda: client, "127.0.0.1", port)
            await asyncio.wait_for(client.opened, 60)
            return client

    clients = await asyncio.gather(*(opened(job, number) for number in range(each) for job in jobs))
    took_s = time.monotonic() - began
    ready.set()
    while not await asyncio.to_thread(stop.wait, NAP_S):
        began = time.monotonic()
        await asyncio.sleep(NAP_S)
        seen.late.append(time.monotonic() - began - NAP_S)
    for client in clients:
        client.transport.abort()
    return seen, took_s


def claims_of(store: JobStore, step_id: str) -> Claims:
    """What claims a step here, so that no other runs it."""
    return Claims(store, step_id, LEASE_S)


def work(
    port: int,
    data_dir: Path,
    jobs: Sequence[Watched],
    go: Event,
    stop: Event,
    found: Connection,
) -> None:
    """Be the workers of the jobs until `stop`; once they may `go`, they tell of them.

    Tells how many events were sent, and the seconds of each call of the webhook.
    """
    environment = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(data_dir)}
    services = Services.open(Settings.from_env(environment))
    beats = threading.Thread(target=_beat, args=(services, jobs, stop))
    beats.start()
    while not go.wait(0.1) and not stop.is_set():
        continue
    sent, calls = [0] * WORKERS, list[float]()
    threads = [
        threading.Thread(
            target=_worker, args=(port, jobs[number::WORKERS], stop, number, sent, calls)
        )
        for number in range(WORKERS)
    ]
    for thread in threads:
        thread.start()
    for thread in (beats, *threads):
        thread.join()
    services.store.close()
    found.send((sum(sent), calls))


def _worker(
    port: int,
    jobs: Sequence[Watched],
    stop: Event,
    number: int,
    sent: list[int],
    calls: list[float],
) -> None:
    """Tell of some jobs by the webhook, as a worker elsewhere does."""
    percent, due = 5.0, time.monotonic() + number / WORKERS / RATE
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        while not stop.wait(max(0.0, due - time.monotonic())):
            due += 1 / RATE
            percent += 0.01
            told = {"stage": "cutting", "percent": percent, "eta_s": time.monotonic()}
            events = [{"uuid": job.step_id, "job_id": job.job_id, **told} for job in jobs]
            body, now = json.dumps({"events": events}).encode(), int(time.time())
            message = f"msg_{number}_{percent:.2f}"
            headers = {
                "webhook-id": message,
                "webhook-timestamp": str(now),
                "webhook-signature": sign(WEBHOOK_SECRET, WEBHOOK, message, now, body),
            }
            began = time.monotonic()
            http.post("/api/queue-progress", content=body, headers=headers).raise_for_status()
            calls.append(time.monotonic() - began)
            sent[number] += len(events)


def _beat(services: Services, jobs: Sequence[Watched], stop: Event) -> None:
    """Renew the claims, with a progress that the list shows, too."""
    store = services.store
    claimed = [(claims_of(store, job.step_id), store.step(job.step_id)) for job in jobs]
    percent = 0.0
    while True:
        percent = min(4.0, percent + 0.1)
        for claims, step in claimed:
            if stop.wait(BEAT_S / len(claimed)):
                return
            claims.beat(step, "cutting", Progress(percent))
