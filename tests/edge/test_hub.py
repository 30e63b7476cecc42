"""The hub: exchanges, bindings, and clients that come, go, and are slow."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from urllib.parse import quote
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from cutmv.transports.cloudflare.edge import to_edge
from cutmv.transports.cloudflare.queues.bindings import matches
from tests.edge.test_signature import refused
from tests.support.edge_worker import DEADLINE_S, HubClient, Worker, op, signed
from tests.support.processes import wait_for

pytestmark = pytest.mark.edge


def closing(client: HubClient) -> tuple[int, str]:
    """Read to the end; how the hub closed."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            client.frame()
    assert closed.value.rcvd
    return closed.value.rcvd.code, closed.value.rcvd.reason


def go_away(worker: Worker, client: str, scope: str, *bindings: tuple[str, str, str, str]) -> None:
    """Be a client with bindings that has left; the hub knows."""
    with worker.hub(client, scope) as gone:
        for exchange, kind, key, queue in bindings:
            gone.bind(exchange, kind, key, queue)


def announce(worker: Worker, scope: str, *messages: dict[str, str]) -> int:
    answer = worker.post(f"/v1/hub/messages?scope={scope}", {"messages": messages})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["routed"])


def message(exchange: str, kind: str, key: str, text: str) -> dict[str, str]:
    return {"exchange": exchange, "kind": kind, "key": key, "text": text}


@pytest.fixture
def scope() -> str:
    """A hub of the test's own."""
    return uuid4().hex


def test_a_direct_exchange_goes_by_the_key(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as ann, worker.hub(scope=scope) as ben:
        ann.bind("x", "direct", "red", "ann")
        ben.bind("x", "direct", "blue", "ben")
        assert ann.publish("x", "direct", "blue", "to ben") == 1
        assert ann.publish("x", "direct", "red", "to ann") == 1
        assert ann.publish("x", "direct", "green", "to nobody") == 0
        assert ann.publish("y", "direct", "red", "to nobody") == 0
        assert ben.next() == {
            "op": "deliver", "queues": ["ben"], "exchange": "x", "key": "blue", "text": "to ben",
        }  # fmt: skip
        assert ann.texts(1) == ["to ann"]


def test_a_fanout_goes_to_all_and_to_the_sender(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as ann, worker.hub(scope=scope) as ben:
        ann.bind("x", "fanout", "", "ann")
        ben.bind("x", "fanout", "whatever", "ben")
        assert ann.publish("x", "fanout", "any", "to all") == 2
        assert ann.texts(1) == ben.texts(1) == ["to all"]


def test_an_operator_hears_how_many_are_connected(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope), worker.hub(scope=scope) as other:
        other.settle()
        answer = worker.post(f"/v1/status?scope={scope}", {})
        assert answer.json() == {"clients": 2, "containers": None}
    assert worker.http.post(f"{worker.url}/v1/status", json={}).status_code == 401


def test_a_sender_may_skip_itself(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as ann, worker.hub(scope=scope) as ben:
        ann.bind("x", "fanout", "", "ann")
        ben.bind("x", "fanout", "", "ben")
        assert ann.publish("x", "fanout", "", "to ben", skip_self=True) == 1
        assert ben.texts(1) == ["to ben"]
        assert ann.publish("x", "fanout", "", "to both") == 2
        assert ann.texts(1) == ["to both"]


def test_a_topic_matches_as_the_transport_does(worker: Worker, scope: str) -> None:
    words = ["", "a", "b", "a.b", "a.b.c", "b.a", "a.a.b", "b.b.b.a", ".", "a.", "#", "*"]
    parts = ["", "a", "b", "*", "#"]
    patterns = [".".join(p) for n in (1, 2, 3) for p in itertools.product(parts, repeat=n)]
    with worker.hub(scope=scope) as client:
        client.send(*[op("bind", "x", "topic", each, queue=f"q {each}") for each in patterns])
        for word in words:
            expected = {f"q {each}" for each in patterns if matches(each, word)}
            client.send(op("publish", "x", "topic", word, text="", ref=0))
            frame = client.frame()
            got = frame[0]["queues"] if isinstance(frame, list) else []
            assert set(got) == expected, word
            assert len(got) == len(expected)


def test_a_pattern_of_many_wildcards_is_matched_in_time(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as client:
        client.bind("x", "topic", ".".join(["#"] * 60 + ["z"]), "q")
        assert client.publish("x", "topic", ".".join("a" * 60), "") == 0


def test_the_default_exchange_reaches_queues_by_name(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as client:
        assert client.publish("", "direct", "replies", "early") == 0
        client.bind("x", "fanout", "", "replies")
        client.bind("", "direct", "declared", "declared")
        assert client.publish("", "direct", "replies", "one") == 1
        assert client.publish("", "direct", "declared", "two") == 1
        assert client.publish("", "topic", "declared", "three") == 1
        assert client.texts(3) == ["one", "two", "three"]


def test_what_is_unbound_gets_nothing(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as client:
        client.bind("x", "direct", "k", "q")
        client.bind("x", "direct", "k", "r")
        client.send(op("unbind", "x", "direct", "k", queue="q"))
        assert client.publish("x", "direct", "k", "hi") == 1
        assert client.next()["queues"] == ["r"]
        client.send(op("unbind", "x", "direct", "k", queue="r"))
        assert client.publish("x", "direct", "k", "hi") == 0
        # A queue stays reachable by its name.
        assert client.publish("", "direct", "q", "hi") == 1
        client.send(op("unbind", "", "direct", "q", queue="q"))
        assert client.publish("", "direct", "q", "hi") == 0


def test_a_client_gets_a_message_once_for_all_its_queues(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as client:
        client.bind("x", "topic", "a.#", "q")
        client.bind("x", "topic", "#", "q")
        client.bind("x", "topic", "*.b", "r")
        assert client.publish("x", "topic", "a.b", "once") == 1
        assert sorted(client.next()["queues"]) == ["q", "r"]
        assert client.publish("x", "topic", "a.c", "next") == 1
        assert client.next()["text"] == "next"


def test_scopes_do_not_hear_each_other(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as ann, worker.hub(scope=scope + "2") as ben:
        ann.bind("x", "fanout", "", "q")
        assert ben.publish("x", "fanout", "", "hi") == 0


def test_a_burst_arrives_as_one_frame(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as ann, worker.hub(scope=scope) as ben:
        ann.bind("x", "fanout", "", "q")
        ben.send(*[op("publish", "x", "fanout", "", text=str(n)) for n in range(100)])
        assert [each["text"] for each in ann.frame()] == [str(n) for n in range(100)]


def test_messages_are_published_without_a_socket(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as ann, worker.hub(scope=scope) as ben:
        ann.bind("x", "fanout", "", "q")
        ben.bind("x", "fanout", "", "q")
        ben.bind("y", "topic", "a.*", "q")
        sent = [message("x", "fanout", "", "one"), message("y", "topic", "a.b", "two")]
        assert announce(worker, scope, *sent) == 3
        assert ann.texts(1) == ["one"]
        assert ben.texts(2) == ["one", "two"]


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ("x", "object"),
        ({}, "exchange"),
        (message("x", "headers", "", ""), "kind"),
        (message("x", "direct", "é" * 128, ""), "255"),
        ({**message("x", "direct", "", ""), "text": None}, "text"),
    ],
    ids=str,
)
def test_a_request_to_publish_that_is_wrong(
    worker: Worker, scope: str, entry: object, word: str
) -> None:
    answer = worker.post(f"/v1/hub/messages?scope={scope}", {"messages": [entry]})
    assert refused(answer, 400, word)


def test_publishing_to_a_queue_rings_those_who_watch_it(worker: Worker) -> None:
    with worker.hub() as ann, worker.hub() as ben:
        for client in (ann, ben):
            client.send({"op": "watch", "queue": "edge-woken"})
            assert client.next() == {"op": "wake", "queue": "edge-woken"}, "from now on it does"
            client.settle()
        worker.publish("edge-woken", "hi")
        assert ann.next() == ben.next() == {"op": "wake", "queue": "edge-woken"}
        ben.send({"op": "unwatch", "queue": "edge-woken"})
        ben.settle()
        worker.publish("edge-woken", "hi")
        assert ann.next()["op"] == "wake"
        ben.settle()  # and nothing came before its answer


def test_a_client_rings_for_a_queue_that_was_filled_by_another_way(
    worker: Worker, scope: str
) -> None:
    with worker.hub(scope=scope) as ann, worker.hub(scope=scope) as ben:
        ann.send({"op": "watch", "queue": "elsewhere"})
        assert ann.next()["op"] == "wake"
        ben.send({"op": "wake", "queue": "elsewhere"}, {"op": "wake", "queue": "another"})
        assert ann.next() == {"op": "wake", "queue": "elsewhere"}
        ann.settle()


def test_pings_are_answered(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as client:
        client.socket.send('{"op":"ping"}')  # as it is answered without waking the hub
        assert client.next() == {"op": "pong"}
        client.socket.send('{ "op": "ping" }')
        assert client.next() == {"op": "pong"}


def test_who_returns_in_time_finds_what_was_missed(worker: Worker, scope: str) -> None:
    go_away(worker, "ann", scope, ("x", "fanout", "", "q"))
    with worker.hub(scope=scope) as ben:
        assert ben.publish("x", "fanout", "", "one") == 1
        assert ben.publish("", "direct", "q", "two") == 1
        with worker.hub("ann", scope) as ann:
            assert ann.texts(2) == ["one", "two"]
            assert ben.publish("x", "fanout", "", "three") == 1
            assert ann.texts(1) == ["three"]
        with worker.hub("ann", scope) as ann:
            ann.settle()  # what was kept is given once


def test_who_misses_too_many_gets_the_newest_and_is_told(worker: Worker, scope: str) -> None:
    go_away(worker, "ann", scope, ("x", "fanout", "", "q"))
    with worker.hub(scope=scope) as ben:
        for start in range(0, 1200, 100):
            texts = [str(n) for n in range(start, start + 100)]
            ben.send(*[op("publish", "x", "fanout", "", text=text) for text in texts])
        ben.settle()
    with worker.hub("ann", scope) as ann:
        assert ann.next() == {"op": "missed", "count": 200}
        assert ann.texts(1000) == [str(n) for n in range(200, 1200)]


def test_who_misses_too_much_gets_the_newest_and_is_told(worker: Worker, scope: str) -> None:
    go_away(worker, "ann", scope, ("x", "fanout", "", "q"))
    with worker.hub(scope=scope) as ben:
        for n in range(5):
            assert ben.publish("x", "fanout", "", str(n) * 400_000) == 1
    with worker.hub("ann", scope) as ann:
        assert ann.next() == {"op": "missed", "count": 3}
        assert [text[0] for text in ann.texts(2)] == ["3", "4"]


@pytest.mark.slow
def test_who_does_not_return_is_forgotten(make_worker: Callable[..., Worker], scope: str) -> None:
    worker = make_worker(HUB_GRACE_S="1")
    late = message("x", "fanout", "", "late")
    with ExitStack() as sockets:
        first = sockets.enter_context(worker.hub("ann", scope))
        first.bind("x", "fanout", "", "q")
        sockets.enter_context(worker.hub("ann", scope))
        assert closing(first)[0] == 4001
        go_away(worker, "ben", scope, ("y", "fanout", "", "q"))
        other = message("y", "fanout", "", "late")
        wait_for(lambda: announce(worker, scope, other) == 0, 20, "ben is forgotten")
        # Ann's first socket was gone for longer, her second was not.
        assert announce(worker, scope, late) == 1
        worker.stop()  # cut off, she says no good-bye
    worker.start()
    wait_for(lambda: announce(worker, scope, late) == 0, 20, "ann is forgotten")
    with worker.hub("ann", scope) as ann:
        ann.settle()
        assert announce(worker, scope, late) == 0


def test_what_a_broken_socket_may_have_lost_of_replies_is_sent_again(
    worker: Worker, scope: str
) -> None:
    with worker.hub(scope=scope) as ben:
        with worker.hub("ann", scope, reports=False) as ann:
            ann.bind("replies", "direct", "ann", "q")
            ann.send(op("bind", "x", "fanout", "", queue="q"))
            for text in ("reported", "lost", "also lost"):
                assert ben.publish("replies", "direct", "ann", text) == 1
            assert ann.texts(3) == ["reported", "lost", "also lost"]
            ann.send({"op": "got", "frames": 2})  # the first is the answer to settle
            ann.settle()
            assert ben.publish("x", "fanout", "", "an event") == 1
        with worker.hub("ann", scope) as ann:
            assert ann.texts(2) == ["lost", "also lost"], "and no event"
            ann.settle()
        with worker.hub("ann", scope) as ann:
            ann.settle()


def test_a_good_bye_is_answered(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as client:
        client.settle()
    assert client.socket.close_code == 1000


def test_a_second_connection_replaces_the_first(worker: Worker, scope: str) -> None:
    with worker.hub("ann", scope) as first:
        first.bind("x", "fanout", "", "q")
        with worker.hub("ann", scope) as second:
            assert closing(first) == (4001, "replaced")
            assert second.publish("x", "fanout", "", "hi") == 1
            assert second.texts(1) == ["hi"]
            assert announce(worker, scope, message("x", "fanout", "", "still")) == 1
            assert second.texts(1) == ["still"]


def test_a_client_that_reports_nothing_is_closed_by_bytes(worker: Worker, scope: str) -> None:
    with worker.hub("ann", scope, reports=False) as ann, worker.hub(scope=scope) as ben:
        ann.send(op("bind", "x", "fanout", "", queue="q"))
        ann.send(op("publish", "nowhere", "fanout", "", text="", ref=1))
        assert ann.next()["op"] == "ok"
        for n in range(5):
            assert ben.publish("x", "fanout", "", str(n) * 1_000_000) == 1
        code, reason = closing(ann)
        assert code == 4008
        assert reason.startswith("too slow: ")
    with worker.hub("ann", scope) as ann:
        assert [text[0] for text in ann.texts(1)] == ["4"]  # its bindings were kept
        ann.settle()


def test_a_client_that_reports_nothing_is_closed_by_count(worker: Worker, scope: str) -> None:
    with worker.hub("ann", scope, reports=False) as ann, worker.hub(scope=scope) as ben:
        ann.send(op("bind", "x", "fanout", "", queue="q"))
        ann.send(op("publish", "nowhere", "fanout", "", text="", ref=1))
        assert ann.next()["op"] == "ok"
        ops = [op("publish", "x", "fanout", "", text="")] * 1000
        for _ in range(10):
            ben.send(*ops)
        assert closing(ann)[0] == 4008


def test_a_client_that_reads_nothing_does_not_hold_up_the_others(
    worker: Worker, scope: str
) -> None:
    with worker.hub("ann", scope, reports=False) as ann, worker.hub(scope=scope) as ben:
        ann.send(op("bind", "x", "fanout", "", queue="q"))
        wait_for(lambda: announce(worker, scope, message("x", "fanout", "", "")) == 1)
        ben.bind("x", "fanout", "", "q")
        for n in range(12):
            assert ben.publish("x", "fanout", "", str(n) * 500_000) == 2
            ben.texts(1)


def test_a_client_that_reports_stays(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as ann, worker.hub(scope=scope) as ben:
        ann.bind("x", "fanout", "", "q")
        ops = [op("publish", "x", "fanout", "", text="some text")] * 1000
        begun = time.monotonic()
        for _ in range(20):
            ben.send(*ops)
            assert len(ann.frame()) == 1000
        print(f"hub: {20_000 / (time.monotonic() - begun):.0f} messages/s in arrays of 1,000")
        for n in range(10):
            assert ben.publish("x", "fanout", "", str(n) * 900_000) == 1
            ann.texts(1)
        ann.settle()


@pytest.mark.parametrize(
    ("frame", "code"),
    [("{", 1003), ("", 1003), (b'{"op":"ping"}', 1003), ('"' + "a" * 1_048_576 + '"', 1009)],
    ids=["brace", "empty", "bytes", "large"],
)
def test_a_frame_that_is_unreadable_ends_the_connection(
    worker: Worker, scope: str, frame: str | bytes, code: int
) -> None:
    with worker.hub(scope=scope) as client:
        client.socket.send(frame)
        client.reports = False
        assert client.next()["op"] == "error"
        assert closing(client)[0] == code


@pytest.mark.parametrize(
    ("frame", "word"),
    [
        (1, "object"),
        (None, "object"),
        ("ping", "object"),
        ([[]], "object"),
        ({}, "op"),
        ({"op": "unknown"}, "op"),
        ({"op": "bind"}, "exchange"),
        (op("bind", "x", "fanout", ""), "queue"),
        (op("bind", "x", "headers", "", queue="q"), "kind"),
        (op("bind", "x", "direct", "k" * 256, queue="q"), "255"),
        (op("publish", "x", "direct", ""), "text"),
        (op("publish", "x", "direct", "", text="", ref="one"), "ref"),
        ({"op": "watch"}, "queue"),
        ({"op": "wake", "queue": 7}, "queue"),
        ({"op": "got", "frames": -1}, "frames"),
    ],
    ids=str,
)
def test_a_bad_op_is_answered_and_the_rest_is_done(
    worker: Worker, scope: str, frame: object, word: str
) -> None:
    with worker.hub(scope=scope) as client:
        client.socket.send(json.dumps(frame))
        error = client.next()
        assert error["op"] == "error"
        assert word in error["detail"]
        client.socket.send(json.dumps([frame, {"op": "ping"}]))
        assert [client.next()["op"] for _ in range(2)] == ["error", "pong"] or isinstance(
            frame, list
        )


def test_a_bad_publish_is_answered_with_its_ref(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as client:
        client.send(op("publish", "x", "headers", "", text="", ref=7))
        assert client.next()["ref"] == 7


def test_a_client_has_a_thousand_bindings(worker: Worker, scope: str) -> None:
    def bind(n: int) -> dict[str, object]:
        return op("bind", "x", "direct", str(n), queue="q")

    with worker.hub(scope=scope) as client:
        client.send(*map(bind, range(1000)))
        client.send(bind(5), bind(1000))  # the first it has already
        assert "1000" in client.next()["detail"]
        assert client.publish("x", "direct", "1000", "hi") == 0
        assert client.publish("x", "direct", "999", "hi") == 1
        assert client.texts(1) == ["hi"]
        client.send(op("unbind", "x", "direct", "0", queue="q"), bind(1000))
        assert client.publish("x", "direct", "1000", "hi") == 1


@pytest.mark.slow
def test_bindings_and_what_was_missed_survive_a_restart(
    make_worker: Callable[..., Worker], scope: str
) -> None:
    worker = make_worker()
    with worker.hub("ann", scope) as ann:
        ann.bind("x", "topic", "a.*", "q")
        ann.send({"op": "watch", "queue": "cutmv-processing"})
        assert ann.next()["op"] == "wake"
        ann.settle()
        worker.stop()
    worker.start()
    assert announce(worker, scope, message("x", "topic", "a.b", "while away")) == 1
    worker.stop()
    worker.start()
    with worker.hub("ann", scope) as ann:
        assert ann.texts(1) == ["while away"]
        assert announce(worker, scope, message("x", "topic", "a.b", "now")) == 1
        assert ann.texts(1) == ["now"]


@pytest.mark.parametrize("client", ["", "c" * 257, "é" * 129, "\U0001f3ac" * 65])
def test_a_client_has_an_id_that_fits(worker: Worker, client: str) -> None:
    target = f"/v1/hub?client={quote(client)}"
    answer = worker.http.get(worker.url + target, headers=signed(b"", to_edge("GET", target)))
    assert refused(answer, 400, "256 bytes")


@pytest.mark.parametrize("client", ["c" * 256, "\U0001f3ac" * 64])
def test_a_client_s_id_may_be_as_long_as_it_fits(worker: Worker, client: str) -> None:
    with worker.hub(quote(client)) as hub:
        hub.bind("x", "fanout", "", "inbox")


def test_the_hub_wants_a_websocket(worker: Worker) -> None:
    target = "/v1/hub?client=a"
    answer = worker.http.get(worker.url + target, headers=signed(b"", to_edge("GET", target)))
    assert refused(answer, 426, "WebSocket")


def test_an_unsigned_socket_is_refused(worker: Worker) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        connect(worker.url.replace("http", "ws") + "/v1/hub?client=a", open_timeout=DEADLINE_S)
    assert refusal.value.response.status_code == 401


def test_how_long_a_message_takes(worker: Worker, scope: str) -> None:
    with worker.hub(scope=scope) as ann, worker.hub(scope=scope) as ben:
        ann.bind("x", "topic", "a.*", "q")
        waits = []
        for _ in range(200):
            begun = time.perf_counter()
            ben.send(op("publish", "x", "topic", "a.b", text="hi"))
            assert ann.texts(1) == ["hi"]
            waits.append((time.perf_counter() - begun) * 1000)
    print(f"hub: p50 {statistics.median(waits):.2f} ms, max {max(waits):.2f} ms")


@pytest.mark.slow
def test_a_hub_that_slept_knows_its_sockets_bindings_and_what_they_did_not_report(
    worker: Worker, scope: str
) -> None:
    ops = [op("publish", "x", "fanout", "", text="")] * 1000
    with worker.hub("ann", scope, reports=False) as ann, worker.hub(scope=scope) as ben:
        ann.bind("x", "fanout", "", "q")
        for _ in range(6):
            ben.send(*ops)
            assert len(ann.frame()) == 1000
        time.sleep(15)  # the runtime puts an object to sleep after ten idle seconds
        ben.send(*ops)
        assert len(ann.frame()) == 1000
        for _ in range(3):
            ben.send(*ops)
        assert closing(ann)[0] == 4008
