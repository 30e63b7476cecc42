"""Where the main process of a Celery worker spends its time while it drains a backlog.

    python bench/profile_worker.py [--tasks 20000] [--latency-ms 0]

A backlog of no-op tasks is published to the emulator, and a real `celery worker -c 2` drains it
while py-spy samples its main process, all threads, those that wait left out. Prints what a task
costs that process (processor time, and how often its threads wait for something), and Markdown
tables of the samples: by thread, by the function on top of the stack, by each function on it, and
the latter for the transport alone. py-spy counts some threads that wait in `recv` as busy.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
from brokers import Broker, cloudflare, wait_for
from measure import Starts, publish_batched, worker
from transport_app import RECORD, make_app

#: Samples a second.
RATE = 200
#: Rows of each table.
ROWS = 25
#: Part of the backlog during which samples are taken: at its end the worker runs dry.
SAMPLED = 0.95

_FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*)\)")


@dataclass(frozen=True)
class Profile:
    """Collapsed stacks, and the main process's costs of one task; times in microseconds."""

    stacks: list[str]
    tasks_per_s: float
    cpu_us: float
    waits: float


def sample(broker: Broker, tasks: int, folder: Path) -> Profile:
    """Drain a backlog of so many tasks."""
    app = make_app(broker.url, broker.options)
    publish_batched(app, tasks)
    app.close()
    starts, stacks = Starts(folder / "starts"), folder / "stacks"

    def started() -> int:
        return starts.path.stat().st_size // RECORD.size

    with worker(broker, folder, starts) as process:
        wait_for(lambda: started() > 0, "the first task has started")
        argv = ["py-spy", "record", f"--pid={process.pid}", f"--rate={RATE}", "--threads"]
        argv += ["--format=raw", "--function", "--full-filenames", f"--output={stacks}"]
        argv += ["--duration=unlimited", "--nonblocking"]
        profiler = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        first, before = started(), _costs(process.pid)
        wait_for(lambda: started() >= tasks * SAMPLED, "nearly all tasks have started")
        cpu, waits = (b - a for a, b in zip(before, _costs(process.pid), strict=True))
        count = started() - first
        profiler.send_signal(signal.SIGINT)
        _, said = profiler.communicate(timeout=30)
        times = sorted(at for _, at in starts.next(tasks))
    if not stacks.exists():
        raise SystemExit(f"py-spy took no samples: {said.decode().strip()}")
    rate = (tasks - 1) / (times[-1] - times[0])
    return Profile(stacks.read_text().splitlines(), rate, cpu / count * 1e6, waits / count)


def _costs(pid: int) -> tuple[float, float]:
    """Seconds of processor time so far, and how often a thread has waited."""
    cpu = psutil.Process(pid).cpu_times()
    threads = Path(f"/proc/{pid}/task").glob("*/status")
    waits = sum(
        int(found[1])
        for status in threads
        if (found := re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.M))
    )
    return cpu.user + cpu.system, waits


def count(stacks: Iterable[str]) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Samples by thread, by the function on top, and by each function on the stack."""
    threads, own, within = Counter(), Counter(), Counter()
    for line in stacks:
        stack, _, samples = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if not frames:
            continue
        named = [_short(frame) for frame in frames]
        threads[re.sub(r"^thread \(.*?\): |[0-9a-f-]{36}", "", thread)] += int(samples)
        own[named[-1]] += int(samples)
        for name in set(named):
            within[name] += int(samples)
    return threads, own, within


def _short(frame: str) -> str:
    """A frame by module and function, without the folders of this machine."""
    found = _FRAME.fullmatch(frame)
    if found is None:
        return frame
    path = re.split(r"site-packages/|lib/python[\d.]+/|/(?=cutmv/)", found["file"])[-1]
    return f"{path.rpartition(':')[0] or path} `{found['function']}`"


def table(title: str, counted: Counter[str], total: int) -> str:
    """The largest shares, in Markdown."""
    lines = [f"| {title} | share |", "| --- | ---: |"]
    lines += [f"| {name} | {n / total:.1%} |" for name, n in counted.most_common(ROWS)]
    return "\n".join(lines)


def main() -> None:
    """Sample one worker, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--latency-ms", type=int, default=0)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        cloudflare(options.latency_ms, Path(folder)) as broker,
    ):
        profile = sample(broker, options.tasks, Path(folder))
    threads, own, within = count(profile.stacks)
    ours = Counter({name: n for name, n in within.items() if name.startswith("cutmv/")})
    total = threads.total()
    print(
        f"{profile.tasks_per_s:,.0f} tasks/s; of the main process a task took "
        f"{profile.cpu_us:.0f} µs and {profile.waits:.2f} waits; {total:,} samples\n"
    )
    titles = {"thread": threads, "on top": own, "on the stack": within, "of the transport": ours}
    for title, counted in titles.items():
        print(table(title, counted, total), end="\n\n")


if __name__ == "__main__":
    main()
