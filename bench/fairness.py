"""What idle queues cost a busy one: a worker with room for one message reads one queue, or eight.

    python bench/fairness.py [--tasks 40] [--queues 8] [--latency-ms 100] [--task-s 0.5]

All messages are in one of the queues. Prints the seconds for both, and the throughput from many as
a part of that from one, which is to be 0.9 at least.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import kombu

sys.path.insert(0, str(Path(__file__).parents[1]))

import cutmv.transports.cloudflare
from tests.support.emulator import EmulatorProcess

assert cutmv.transports.cloudflare


def seconds(emulator: EmulatorProcess, names: list[str], tasks: int, task_s: float) -> float:
    """Return how long a consumer of these queues takes for the messages of the last one."""
    url = f"cloudflare://:{emulator.api_token}@{emulator.account_id}"
    options = {"api_base_url": emulator.base_url, "rate_limit": 0}
    ran: list[float] = []

    def run(_body: object, message: kombu.Message) -> None:
        time.sleep(task_s)
        message.ack()
        ran.append(time.monotonic())

    with kombu.Connection(url, transport_options=options) as connection:
        queues = [kombu.Queue(name, kombu.Exchange(name), name) for name in names]
        with connection.Consumer(queues, callbacks=[run], prefetch_count=1):
            producer = connection.Producer()
            for _ in range(tasks + 1):
                producer.publish({}, routing_key=names[-1], exchange=names[-1])
            while len(ran) <= tasks:
                connection.drain_events(timeout=60)
    return ran[-1] - ran[0]


def main() -> None:
    """Measure both, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--queues", type=int, default=8)
    parser.add_argument("--latency-ms", type=int, default=100)
    parser.add_argument("--task-s", type=float, default=0.5)
    args = parser.parse_args()
    names = [f"queue-{number}" for number in range(args.queues)]
    took = []
    with tempfile.TemporaryDirectory() as directory:
        for some in (names[-1:], names):
            db = Path(directory) / f"{len(some)}.sqlite3"
            emulator = EmulatorProcess(db, args.latency_ms, rate_limit=False)
            emulator.start()
            try:
                took.append(seconds(emulator, some, args.tasks, args.task_s))
            finally:
                emulator.kill()
    print(f"1 queue: {took[0]:.1f} s · {args.queues} queues: {took[1]:.1f} s", end=" · ")
    print(f"throughput: {took[0] / took[1]:.2f} of one queue's")


if __name__ == "__main__":
    main()
