"""Which poller pulls next, in the time of a clock that the test sets."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from cutmv.transports.cloudflare.consumer.turns import Turns


@dataclass(eq=False)
class Queue:
    """A queue and its poller; `ready` messages wait in it."""

    name: str
    ready: int = 0
    stopped: bool = False
    busy: bool = False


@dataclass
class Worker:
    """A worker with room for one message, whose every pull takes `latency` seconds."""

    queues: list[Queue]
    task: float
    latency: float = 0.1
    now: float = 0.0
    order: list[str] = field(default_factory=list)

    def run(self, tasks: int) -> float:
        """Pull until so many tasks have run; return how long that took."""
        turns = Turns(lambda: self.now)
        for queue in self.queues:
            turns.wait(queue)
        started, ran = self.now, 0
        while ran < tasks:
            queue = next(each for each in self.queues if turns.is_next(each))
            turns.leave(queue)
            turns.start(queue)
            self.now += self.latency
            self.order.append(queue.name)
            turns.end(queue)
            queue.busy = queue.ready > 0
            turns.wait(queue)
            if queue.busy:
                queue.ready -= 1
                self.now += self.task
                ran += 1
        return self.now - started


@pytest.mark.parametrize("task", [0.0, 0.5, 60.0])
def test_idle_queues_cost_a_busy_one_a_tenth_at_most(task: float) -> None:
    alone = Worker([Queue("busy", 200, busy=True)], task).run(200)
    among = Worker([*(Queue(f"idle-{n}") for n in range(7)), Queue("busy", 200, busy=True)], task)
    assert alone / among.run(200) >= 0.9


@pytest.mark.parametrize("task", [0.0, 0.5, 60.0])
def test_every_idle_queue_is_pulled_again_and_again(task: float) -> None:
    queues = [*(Queue(f"idle-{n}") for n in range(7)), Queue("busy", 1000, busy=True)]
    worker = Worker(queues, task)
    worker.run(400)
    pulls = [worker.order.count(each.name) for each in queues]
    assert min(pulls) >= 2
    assert max(pulls[:-1]) - min(pulls[:-1]) <= 1  # each in its turn


def test_a_queue_that_gets_a_message_shares_with_the_busy_one_from_then_on() -> None:
    late = Queue("late")
    queues = [Queue("idle"), late, Queue("busy", 1000, busy=True)]
    worker = Worker(queues, 0.5)
    worker.run(20)
    late.ready = 50
    worker.run(60)
    tail = worker.order[-20:]
    assert abs(tail.count("late") - tail.count("busy")) <= 1


def test_without_a_busy_queue_all_are_pulled_in_turn() -> None:
    queues = [Queue("a"), Queue("b"), Queue("c", 1)]
    worker = Worker(queues, 0.0)
    worker.run(1)
    assert worker.order == ["a", "b", "c"]
