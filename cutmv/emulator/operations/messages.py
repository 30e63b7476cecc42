"""The work of the calls for messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cutmv.emulator import errors, schema
from cutmv.emulator.model import Delivery, Json, NewMessage
from cutmv.emulator.operations.call import Call
from cutmv.emulator.store import Store

#: Messages that a peek shows when the request names no number.
_PEEK_SIZE = 5
#: What comes before a lease id where it is to be neither short nor plain.
_ODD_HANDLE = "lease/+=|: \u00e9" * 40


def publish(call: Call, store: Store) -> Json:
    """Push one message."""
    return _push(call, store, [schema.message(call.body)])


def batch(call: Call, store: Store) -> Json:
    """Push many messages, all of them or none."""
    return _push(call, store, schema.batch(call.body))


def _push(call: Call, store: Store, messages: Sequence[NewMessage]) -> Json:
    _check_delays(call, (each.delay for each in messages))
    metrics = store.messages.push(call.queue_id, messages)
    call.stats.pushed(messages)
    return {"metadata": {"metrics": metrics.as_json()}}


def pull(call: Call, store: Store) -> Json:
    """Lease messages."""
    wanted = schema.batch_size(call.body)
    if wanted and call.beliefs.pull_more:
        wanted += 1
    messages = store.messages.pull(
        call.queue_id,
        batch_size=wanted,
        visibility_ms=schema.visibility_timeout_ms(call.body),
        shuffle=call.verdict.shuffle,
    )
    originals = [each.message_id for each in messages if not each.is_copy]
    store.messages.copy(call.queue_id, call.faults.duplicates(originals))
    call.stats.delivered(messages)
    shown = [_pulled_json(call, each) for each in messages]
    answer = {
        "message_backlog_count": _backlog(call, store),
        "messages": [*shown, *shown] if call.beliefs.pull_twins else shown,
        "metadata": {"metrics": store.messages.metrics(call.queue_id).as_json()},
    }
    if call.beliefs.backlog == "missing":
        del answer["message_backlog_count"], answer["metadata"]
    return answer


def _pulled_json(call: Call, delivery: Delivery) -> Json:
    shown, beliefs = delivery.as_json("lease_id"), call.beliefs
    shown["attempts"] += beliefs.attempts_base - 1
    if beliefs.timestamps_text:
        shown |= {name: str(shown[name]) for name in ("attempts", "timestamp_ms")}
    if beliefs.handles == "odd":
        shown["lease_id"] = _ODD_HANDLE + shown["lease_id"]
    return shown


def _backlog(call: Call, store: Store) -> Json:
    """Return what a pull says is left in its queue."""
    count = store.messages.metrics(call.queue_id).count
    match call.beliefs.backlog:
        case "ready":
            return store.messages.ready(call.queue_id)
        case "zero":
            return 0
        case "stale":
            return call.switches.stale(call.queue_id, count)
        case "text":
            return str(count)
    return count


def ack(call: Call, store: Store) -> Json:
    """End leases."""
    acks, retries = schema.acks(call.body), schema.retries(call.body)
    _check_delays(call, (each.delay for each in retries))
    if call.beliefs.handles == "odd":
        acks = tuple(each.removeprefix(_ODD_HANDLE) for each in acks)
        retries = tuple(
            replace(each, lease_id=each.lease_id.removeprefix(_ODD_HANDLE)) for each in retries
        )
    done = store.messages.acknowledge(
        call.queue_id, acks, retries, late_acks=call.beliefs.late_acks
    )
    call.stats.settled(done)
    shown = done.as_json()
    match call.beliefs.warnings:
        case "list":
            shown["warnings"] = [f"{lease}: {text}" for lease, text in done.warnings.items()]
        case "missing":
            del shown["warnings"]
    return shown


def _check_delays(call: Call, delays: Iterable[int | None]) -> None:
    """Refuse delays past the longest that is accepted. Error: 10203."""
    most = call.beliefs.delay_most
    longest = max((each or 0 for each in delays), default=0)
    if longest > most:
        raise errors.bad_metadata(f"delay_seconds is {longest}: want 0 to {most}")


def peek(call: Call, store: Store) -> Json:
    """Show messages without leasing them."""
    size = schema.batch_size(call.body)
    messages = store.messages.peek(call.queue_id, _PEEK_SIZE if size is None else size)
    return {"messages": [each.as_json("ref") for each in messages]}


def purge_refs(call: Call, store: Store) -> Json:
    """Remove messages that a peek showed."""
    warnings = store.messages.remove(call.queue_id, schema.refs(call.body))
    return {"errors": [], "warnings": warnings}
