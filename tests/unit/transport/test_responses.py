"""What the REST client makes of answers that are no answers, over a real connection."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cutmv.transports.cloudflare.api import (
    Client,
    Credentials,
    NotificationRule,
    add_notification_rule,
    notification_rules,
)
from cutmv.transports.cloudflare.api.listing import QueuePage, walk
from cutmv.transports.cloudflare.api.responses import Pulled
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    Conflict,
    NotFound,
    PublishFailed,
    Refused,
    ServerFault,
    Throttled,
    Unreachable,
)
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import Queue

MESSAGE = {"id": "m", "lease_id": "l", "ref": "r", "body": "b", "attempts": 1, "metadata": {}}
QUEUE = {"queue_name": "q", "queue_id": "0af"}


class Server(ThreadingHTTPServer):
    """Answers each call with the first of `answers`, the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.calls = 0

    def say(self, *documents: Any, status: int = 200, **headers: str) -> None:
        self.say_bytes(
            *(json.dumps(document).encode() for document in documents), status=status, **headers
        )

    def say_bytes(self, *bodies: bytes, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers, self.calls = [(status, named, body) for body in bodies], 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait for an acknowledgement
    server: Server

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.calls += 1
        answers = self.server.answers
        status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    url = f"http://127.0.0.1:{server.server_port}"
    client = Client(Credentials("account", "token"), Options(api_base_url=url, rate_limit=0))
    yield client
    client.close()


@pytest.fixture
def newcomer(server: Server) -> Iterator[Client]:
    """A client that has not been told to wait."""
    options = Options(api_base_url=f"http://127.0.0.1:{server.server_port}", rate_limit=0)
    client = Client(Credentials("account", "token"), options)
    yield client
    client.close()


#: What a list tells that has one page.
ONE_PAGE = {"total_pages": 1, "total_count": 1}

#: A rule of R2's event notifications.
RULE = NotificationRule("incoming/")

#: Every method of the client, and what is made of its calls, given a deadline.
CALLS: dict[str, Callable[[Client, float], Any]] = {
    "list_queues": lambda c, d: list(c.list_queues(d)),
    "named_queues": lambda c, d: c.named_queues("work", d),
    "create_queue": lambda c, d: c.create_queue("q", d),
    "change": lambda c, d: c.change("q", {"delivery_paused": True}, d),
    "delete_queue": lambda c, d: c.delete_queue("q", d),
    "list_consumers": lambda c, d: c.list_consumers("q", d),
    "create_consumer": lambda c, d: c.create_consumer("q", {"type": "http_pull"}, d),
    "delete_consumer": lambda c, d: c.delete_consumer("q", "c", d),
    "update_consumer": lambda c, d: c.update_consumer("q", "c", {"type": "http_pull"}, d),
    "purge": lambda c, d: c.purge("q", d),
    "backlog": lambda c, d: c.backlog("q", d),
    "token_id": lambda c, d: c.token_id(d),
    "publish": lambda c, d: c.publish("q", [("text", None)], d),
    "put": lambda c, d: c.put("q", [{"body": "text"}], d),
    "pull": lambda c, d: c.pull("q", 1, 1.0, d),
    "end_leases": lambda c, d: c.end_leases("q", ["l"], [("m", 1.0)], d),
    "peek": lambda c, d: c.peek("q", 1, d),
    "remove": lambda c, d: c.remove("q", ["r"], d),
    "notification_rules": lambda c, d: notification_rules(c, "b", "q", d),
    "add_notification_rule": lambda c, d: add_notification_rule(c, "b", "q", RULE, d),
}


def once(client: Client, call: str) -> Any:
    """Make a call that is not made again; but where this machine takes 50 ms to answer, it is."""
    end = time.monotonic() + 20
    while True:
        try:
            return CALLS[call](client, time.monotonic())
        except Unreachable:
            assert time.monotonic() < end, "the server does not answer"


#: Methods whose callers try again themselves.
ONCE = ("pull", "end_leases")


def test_every_method_of_the_client_is_among_those_tried() -> None:
    methods = {name for name in vars(Client) if not name.startswith("_")}
    assert methods - {"close", "call"} <= set(CALLS)


def fine(**result: Any) -> dict[str, Any]:
    return {"success": True, "errors": [], "messages": [], "result": result}


# --- bodies that are no envelopes


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"17",
        b'"ok"',
        b"[]",
        b'[{"success": true}]',
        b"{}",
        b'{"success": "true", "result": {}}',
        b'{"success": 1, "result": {}}',
        b"<html>",
        b"\xff\xfe\xff",
        b"[" * 100_000,
        b"1" * 5000,
    ],
)
def test_a_body_that_is_no_envelope_is_a_fault_of_the_server(
    server: Server, client: Client, call: str, body: bytes
) -> None:
    server.say_bytes(body)
    with pytest.raises(ServerFault) as caught:
        once(client, call)
    assert caught.value.passing
    assert caught.value.status == 200
    assert "\n" not in str(caught.value)


def test_a_body_that_is_packed_as_nothing_is_is_a_fault_of_the_server(
    server: Server, client: Client
) -> None:
    server.say_bytes(b"no gzip", content_encoding="gzip")
    with pytest.raises(ServerFault, match="packed"):
        once(client, "purge")
    server.say_bytes(gzip.compress(json.dumps(fine()).encode()), content_encoding="gzip")
    once(client, "purge")


@pytest.mark.parametrize(
    ("call", "good"),
    [
        ("list_queues", {**fine(), "result": [QUEUE], "result_info": ONE_PAGE}),
        ("create_queue", fine(**QUEUE)),
        ("list_consumers", {**fine(), "result": [{"type": "http_pull"}]}),
        ("backlog", fine(backlog_count=1)),
        ("put", fine()),
        ("token_id", fine(id="t")),
        ("peek", fine(messages=[MESSAGE])),
        ("remove", fine(warnings={})),
    ],
)
def test_a_call_that_met_no_answer_is_made_again(
    server: Server, client: Client, call: str, good: Any
) -> None:
    server.say("nonsense", {"success": True, "result": "nonsense"}, good)
    CALLS[call](client, time.monotonic() + 20)
    assert server.calls == 3


@pytest.mark.parametrize("call", ONCE)
def test_a_call_whose_caller_has_a_rhythm_is_not_made_again(
    server: Server, client: Client, call: str
) -> None:
    server.say("nonsense", fine(messages=[], warnings={}))
    with pytest.raises(ServerFault):
        CALLS[call](client, time.monotonic() + 20)
    assert server.calls == 1


# --- errors


@pytest.mark.parametrize(
    "errors",
    [
        None,
        "overloaded",
        17,
        {},
        {"code": 1},
        [],
        [None],
        ["text"],
        [[]],
        [{}],
        [{"code": "ten"}],
        [{"code": None, "message": None}],
        [{"code": [1], "message": {"a": "b"}}],
        [{"code": float("nan")}],
        [{"code": float("inf")}],
        [{"code": 10**400}],
        [{"code": True}],
    ],
)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, ServerFault),
        (302, ServerFault),
        (400, Refused),
        (401, AccessDenied),
        (404, ServerFault),
        (408, ServerFault),
        (409, Conflict),
        (425, ServerFault),
        (429, Throttled),
        (500, ServerFault),
    ],
)
def test_what_is_no_list_of_errors_leaves_the_status_to_say_what_failed(
    server: Server, client: Client, errors: Any, status: int, kind: type[CloudflareError]
) -> None:
    server.say({"success": False, "errors": errors}, status=status)
    with pytest.raises(kind) as caught:
        once(client, "purge")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code) == (status, 0)


@pytest.mark.parametrize(
    ("status", "code", "passing"),
    [
        *((status, 0, True) for status in (404, 408, 409, 425, 429, 500, 502, 503, 504, 520)),
        *((status, 15000, True) for status in (408, 409, 425, 429, 500)),
        (404, 10104, False),
        (404, 7003, False),
        (500, 10104, False),
        *((status, code, False) for status in (400, 401, 403, 405, 413) for code in (0, 10207)),
    ],
)
def test_an_error_tells_whether_the_same_call_may_be_accepted_later(
    server: Server, client: Client, status: int, code: int, passing: bool
) -> None:
    server.say({"success": False, "errors": [{"code": code, "message": "no"}]}, status=status)
    with pytest.raises(CloudflareError) as caught:
        once(client, "pull")
    assert caught.value.passing is passing
    assert PublishFailed("not sent", cause=caught.value).passing is passing
    assert caught.value.again().passing is passing


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 407, 413, 418, 502])
@pytest.mark.parametrize("body", [b"<html>", b'{"error": "by a proxy"}', b""])
def test_a_page_of_a_proxy_passes(server: Server, client: Client, status: int, body: bytes) -> None:
    server.say_bytes(body, status=status)
    with pytest.raises(ServerFault) as caught:
        once(client, "pull")
    assert caught.value.passing
    assert caught.value.status == status


@pytest.mark.parametrize("call", ["create_queue", "create_consumer"])
def test_what_another_call_may_have_created_is_told_at_once(
    server: Server, client: Client, call: str
) -> None:
    server.say({"success": False, "errors": [{"code": 1, "message": "taken"}]}, status=409)
    with pytest.raises(Conflict):
        CALLS[call](client, time.monotonic() + 20)
    assert server.calls == 1


def test_the_first_error_that_is_one_counts(server: Server, client: Client) -> None:
    server.say({"success": False, "errors": [None, {"code": 10104, "message": "gone\nnow"}]})
    with pytest.raises(NotFound, match="code 10104: gone now") as caught:
        once(client, "purge")
    assert caught.value.code == 10104


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("2", 2.0), ("-2", 0.0), ("inf", 3600.0), ("1e300", 3600.0), ("soon", None), ("", None)],
)
def test_who_is_asked_to_wait_for_ever_waits_for_an_hour(
    server: Server, client: Client, said: str, seconds: float | None
) -> None:
    server.say({}, status=429, retry_after=said)
    with pytest.raises(Throttled) as caught:
        once(client, "pull")
    assert caught.value.retry_after == seconds


# --- results


@pytest.mark.parametrize(
    ("call", "result"),
    [
        *[("list_queues", result) for result in ({}, "none", 1, [None], ["q"], [{}])],
        ("list_queues", [{"queue_name": "q"}]),
        ("list_queues", [{"queue_name": 7, "queue_id": "0af"}]),
        ("list_queues", [{"queue_name": "q", "queue_id": 7}]),
        ("list_queues", [{"queue_name": "q", "queue_id": "a/../b"}]),
        ("list_queues", [{"queue_name": "q", "queue_id": "a\n"}]),
        ("list_queues", [QUEUE, {**QUEUE, "queue_id": "1", "settings": []}]),
        ("list_queues", [{**QUEUE, "settings": {"message_retention_period": "long"}}]),
        ("list_queues", [{**QUEUE, "consumers": {}}]),
        ("list_queues", [{**QUEUE, "consumers": ["http_pull"]}]),
        ("list_queues", [{**QUEUE, "consumers": [{"settings": {"max_retries": []}}]}]),
        ("list_queues", [{**QUEUE, "consumers": [{"dead_letter_queue": {}}]}]),
        *[("create_queue", result) for result in (None, [], "none", {}, {"queue_id": "0af"})],
        *[("list_consumers", result) for result in ({}, "none", [None], [{"type": 1}])],
        *[("backlog", result) for result in (None, [], "none", {}, {"backlog_count": "many"})],
        ("backlog", {"backlog_count": 1, "backlog_bytes": "many"}),
        ("backlog", {"backlog_count": float("inf")}),
        ("backlog", {"backlog_count": 1, "oldest_message_timestamp_ms": 10**400}),
        *[("pull", result) for result in (None, [], "none", {"messages": {}})],
        *[("peek", result) for result in (None, [], "none", {"messages": {}})],
        ("peek", {"messages": [MESSAGE, None]}),
        ("peek", {"messages": [{**MESSAGE, "timestamp_ms": "now"}]}),
        *[("end_leases", result) for result in (None, [], "none", {"warnings": "a"})],
        *[("end_leases", {"warnings": warnings}) for warnings in ("a", 1, True)],
        *[("remove", result) for result in (None, [], "none", {"warnings": "a"})],
        *[(call, []) for call in ("change", "delete_queue", "create_consumer", "purge", "put")],
        ("update_consumer", []),
        *[("token_id", result) for result in (None, [], "none", {}, {"id": 7}, {"id": ""})],
    ],
)
def test_a_result_of_another_shape_is_a_fault_of_the_server(
    server: Server, client: Client, call: str, result: Any
) -> None:
    server.say({"success": True, "result": result})
    with pytest.raises(ServerFault, match="none to the call"):
        once(client, call)


@pytest.mark.parametrize("info", [[], "x"])
def test_pages_that_can_t_be_counted_void_the_list(
    server: Server, client: Client, info: Any
) -> None:
    server.say({"success": True, "result": [QUEUE], "result_info": info})
    with pytest.raises(ServerFault):
        once(client, "list_queues")


@pytest.mark.parametrize(
    ("call", "document", "read"),
    [
        ("list_queues", {"result": None}, []),
        ("list_queues", {"result": [QUEUE], "result_info": None}, [QUEUE]),
        ("list_consumers", {}, []),
        ("pull", {"result": {}}, Pulled([], None)),
        ("pull", {"result": {"messages": None}}, Pulled([], None)),
        ("pull", {"result": {"message_backlog_count": 0}}, Pulled([], 0)),
        ("pull", {"result": {"message_backlog_count": "0"}}, Pulled([], 0)),
        (
            "pull",
            {"result": {"messages": [{**MESSAGE, "attempts": "2", "timestamp_ms": "5"}] * 2}},
            Pulled([{**MESSAGE, "attempts": 2, "timestamp_ms": 5}], None),
        ),
        ("pull", {"result": {"message_backlog_count": False}}, Pulled([], None)),
        ("end_leases", {"result": {}}, {}),
        ("end_leases", {"result": {"warnings": []}}, {}),
        ("end_leases", {"result": {"warnings": ["late"]}}, {"0": "late"}),
        ("end_leases", {"result": {"warnings": {"l": 1}}}, {"l": "1"}),
        ("delete_queue", {"result": None}, None),
    ],
)
def test_what_is_not_there_is_none(
    server: Server, client: Client, call: str, document: Any, read: Any
) -> None:
    server.say({"success": True, **document})
    assert once(client, call) == read


@pytest.mark.parametrize(
    "malformed",
    [
        None,
        "text",
        {},
        {key: value for key, value in MESSAGE.items() if key != "id"},
        {key: value for key, value in MESSAGE.items() if key != "body"},
        {**MESSAGE, "lease_id": None},
        {**MESSAGE, "lease_id": ""},
        {**MESSAGE, "lease_id": "a\ud800"},
        {**MESSAGE, "body": {"text": "b"}},
        {**MESSAGE, "metadata": "text"},
        {**MESSAGE, "attempts": "often"},
    ],
)
def test_a_pull_gives_what_is_whole_and_says_what_it_left_out(
    server: Server, client: Client, malformed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    other = {**MESSAGE, "lease_id": "other"}
    server.say(fine(messages=[MESSAGE, malformed, other]))
    with caplog.at_level(logging.WARNING):
        assert once(client, "pull").messages == [MESSAGE, other]
    assert "1 of 3 messages of a pull are malformed" in caplog.text

    server.say(fine(messages=[malformed]))
    with pytest.raises(ServerFault, match="none of its messages"):
        once(client, "pull")


# --- anything at all

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10),
    st.integers(-(10**320), 10**320),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["http_pull", "0af", "q"]),
)

#: Every key that an answer has, so that what is read is met, and in the wrong place too.
KEYS = st.sampled_from(
    [
        *["success", "errors", "code", "message", "result", "result_info", "total_pages"],
        *["messages", "warnings", "id", "lease_id", "ref", "body", "attempts", "metadata"],
        *["timestamp_ms", "queue_id", "queue_name", "settings", "consumers", "type"],
        *["max_retries", "dead_letter_queue", "message_retention_period"],
        *["backlog_count", "backlog_bytes", "oldest_message_timestamp_ms"],
    ]
)

JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=6)),
    max_leaves=15,
)

#: What is right but for a part or two.
ENTRIES = st.builds(
    lambda base, spoilt: {**base, **spoilt},
    st.sampled_from([MESSAGE, QUEUE, {**QUEUE, "consumers": [{}]}, {"type": "http_pull"}]),
    st.dictionaries(KEYS, JSON, max_size=2),
)
RESULTS = st.one_of(
    JSON,
    ENTRIES,
    st.lists(ENTRIES, max_size=3),
    st.fixed_dictionaries({"messages": st.lists(st.one_of(ENTRIES, JSON), max_size=3)}),
    st.fixed_dictionaries(
        {"backlog_count": LEAVES, "backlog_bytes": LEAVES, "oldest_message_timestamp_ms": LEAVES}
    ),
    st.fixed_dictionaries({"warnings": JSON}),
)
ENVELOPES = st.fixed_dictionaries(
    {"success": st.sampled_from([True, True, True, False, None, "yes"]), "result": RESULTS},
    optional={"errors": JSON, "result_info": JSON},
)


@pytest.mark.parametrize("call", CALLS)
@given(
    document=st.one_of(ENVELOPES, JSON),
    status=st.sampled_from([200, 200, 200, 201, 302, 400, 401, 404, 409, 429, 500, 503]),
    headers=st.fixed_dictionaries(
        {},
        optional={
            "retry_after": st.sampled_from(["1", "nan", "inf", "-1", "1e999", "x"]),
            "ratelimit": st.sampled_from(['"default";r=9;t=1', "r=" + "9" * 5000 + ";t=1", "r=x"]),
        },
    ),
)
@example(
    document={"success": True, "result": [{"queue_id": "a\n", "queue_name": "q"}]},
    status=200,
    headers={},
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_answered_only_documented_errors_come_out(
    server: Server, client: Client, call: str, document: Any, status: int, headers: dict[str, str]
) -> None:
    server.say(document, status=status, **headers)
    try:
        read = once(client, call)
    except CloudflareError as error:
        assert len(str(error).splitlines()) == 1
        assert error.retry_after is None or 0 <= error.retry_after <= 3600
        return
    # and what is read can be used
    if call in ("list_queues", "create_queue"):
        for queue in read if isinstance(read, list) else [read]:
            assert Queue.read(queue).queue_id.isascii()
    elif call == "list_consumers":
        Queue("q", "0af", None).consumed(read)
    elif call == "backlog":
        assert isinstance(read.count, int)
    elif call in ("pull", "peek"):
        handle = {"pull": "lease_id", "peek": "ref"}[call]
        entries = read.messages if call == "pull" else read
        assert all(entry[handle] and isinstance(entry["body"], str) for entry in entries)
        assert all(int(entry.get("attempts") or 1) is not None for entry in entries)
    elif call == "token_id":
        assert isinstance(read, str)
    elif call in ("end_leases", "remove"):
        assert all(isinstance(warning, str) for warning in read.values())


# --- pages of the list


def page(*names: str, **info: Any) -> dict[str, Any]:
    """A page of queues, and what it tells of the others."""
    queues = [{**QUEUE, "queue_name": name, "queue_id": name} for name in names]
    return {"success": True, "result": queues, "result_info": info}


@pytest.mark.parametrize(
    ("pages", "calls"),
    [
        # What the server tells agrees: no call is spent to make sure.
        ([page("a", "b", total_pages=1, total_count=2)], 1),
        ([page("a", total_pages=2, total_count=2), page("b", total_pages=2, total_count=2)], 2),
        # The server makes shorter pages than it was asked for; one number is missing, or wrong.
        ([page("a", total_pages=2), page("b", total_pages=2), page()], 3),
        ([page("a", total_pages=1, total_count=2), page("b", total_pages=1, total_count=2)], 2),
        ([page("a", total_pages=1), page("b", total_pages=1), page()], 3),
        ([page("a", total_count=2), page("b", total_count=2), page()], 3),
        # It tells nothing, or no sense: until a page is empty, or short.
        ([page("a"), page("b"), page()], 3),
        ([page("a", "b"), page("c")], 2),
        ([page("a", total_pages="one"), page("b", total_pages=[2]), page()], 3),
        # It tells of more than there is, or ignores paging: until a page brings nothing fresh.
        ([page("a", total_pages=9), page("b", total_pages=9), page(total_pages=9)], 3),
        ([page("a", "b", total_pages=9, total_count=99)] * 2, 2),
    ],
)
def test_a_list_has_the_queues_of_all_pages_and_an_end(
    server: Server, newcomer: Client, pages: list[dict[str, Any]], calls: int
) -> None:
    server.say(*pages)
    wanted = {each["queue_name"] for page in pages for each in page["result"]}
    listed = [each["queue_name"] for each in CALLS["list_queues"](newcomer, time.monotonic() + 20)]
    assert (sorted(listed), server.calls) == (sorted(wanted), calls)


@pytest.mark.parametrize("gone", itertools.permutations(range(7), 2))
def test_a_list_has_each_queue_though_others_are_deleted_meanwhile(gone: tuple[int, int]) -> None:
    """One is deleted after each page."""
    account, to_delete = list(range(7)), list(gone)

    def read(number: int) -> QueuePage:
        queues = [{"queue_id": str(each)} for each in account[(number - 1) * 2 : number * 2]]
        answer = QueuePage(queues, -(-len(account) // 2), len(account))
        if to_delete:
            account.remove(to_delete.pop())
        return answer

    listed = [int(each["queue_id"]) for each in walk(read)]
    assert {*range(7)} - {*gone} <= {*listed}
    assert len(listed) == len({*listed})


def test_a_server_that_does_not_search_by_name_is_asked_so_once(
    server: Server, newcomer: Client
) -> None:
    def ask() -> list[dict[str, Any]] | None:
        return newcomer.named_queues("a", time.monotonic() + 20)

    server.say(page("a"))
    assert [each["queue_name"] for each in ask() or ()] == ["a"]
    server.say(page())
    assert ask() == []
    server.say(page("b", "c"))  # the filter is ignored
    assert [ask(), ask()] == [None, None]
    assert server.calls == 1
