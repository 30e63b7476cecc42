"""The transport's options, validated once: `Options`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from cutmv.transports.cloudflare.errors import ConfigurationError
from cutmv.transports.cloudflare.kombu_options import KOMBU_OPTIONS, foreign
from cutmv.transports.cloudflare.option_checks import (
    check_ledger_url,
    check_store_url,
    check_type,
)

#: Cloudflare's own address.
DEFAULT_API_BASE_URL = "https://api.cloudflare.com/client/v4"

#: Seconds of a lease where a ledger renews it, and Cloudflare's limit.
VISIBILITY_TIMEOUT, MAX_VISIBILITY_TIMEOUT = 300, 43_200

#: How messages that would not fit otherwise may be compressed: by what every Python has.
CODECS = ("zlib", "bzip2", "lzma")

#: Options whose default may be in the environment, as ``CLOUDFLARE_`` and the name in capitals.
FROM_ENVIRONMENT = (
    "api_base_url",
    "edge_url",
    "edge_keys",
    "consume",
    "ingress_host",
    "ingress_port",
)

#: Values of `lease_ledger` that have the process find one, and that turn it off.
AUTO_LEDGER, NO_LEDGER = "auto", "none"

#: The start of a value that names an environment variable.
ENV_PREFIX = "env:"


@dataclass(frozen=True, slots=True)
class Options:
    """The transport's options, given as Celery's ``broker_transport_options``.

    Attributes:
        api_base_url: The REST API's URL. Default: ``CLOUDFLARE_API_BASE_URL``, else Cloudflare's.
        visibility_timeout: Seconds (1 to 43,200) for which a pulled message is leased; a message
            neither acked nor returned in that time, nor kept in the `lease_ledger`, goes to another
            consumer. Default 300 with a ledger; without one 3,600, or the longest that the worker's
            tasks may hold it by their hard time limits, if that is more.
        lease_ledger: Where a queue's workers record the messages they hold. ``auto`` is the first
            that there is of the edge Worker's ledger, the result backend's Redis, the store of
            `large_messages`, and the R2 bucket `leases.bucket_name` (see `leases.finding`).
            ``none`` is none. Else a URL: ``file:///directory``, ``redis://…`` or
            ``r2://bucket/prefix`` (see `leases.ledger`), or ``env:NAME`` for the URL in that
            environment variable, which keeps a password out of Celery's configuration. Default
            ``auto``.
        edge_url: The edge Worker's URL (docs/edge.md). Its queue bindings have no limit of calls;
            the REST API is used while it does not answer. Default: ``CLOUDFLARE_EDGE_URL``, else
            none.
        edge_keys: The keys that sign requests to the Worker, and from it: its ``EDGE_KEYS``.
            Default: ``CLOUDFLARE_EDGE_KEYS``.
        consume: How messages come: ``pull``, or ``push`` by the edge Worker, which sends them to
            this process's push server as soon as they come (see `edge.push_server`). Default:
            ``CLOUDFLARE_CONSUME``, else ``pull``.
        pulled_queues: Queues that are pulled even where `consume` is ``push``, for tasks that may
            take longer than a Worker waits. Default none.
        foreign_messages: For queues by their names, the task for which a message stands that no
            Celery has published: its body is the task's one argument (see `consumer.foreign`).
            Default none: such messages are dead letters.
        ingress_host: Address on which the push server listens. Default:
            ``CLOUDFLARE_INGRESS_HOST``, else 127.0.0.1.
        ingress_port: The push server's port; 0 for any free port. Default:
            ``CLOUDFLARE_INGRESS_PORT``, else 8788.
        polling_interval_min: Seconds until the next pull after the first pull that brought nothing;
            they double with each further one. Default 0.05.
        polling_interval_max: Seconds between pulls of an idle queue at most. Default 1.
        pull_linger: Seconds a pull waits for more room when less than half of the prefetch
            is free, so that one call fetches many messages. Default 0.05.
        ack_linger: Seconds between a queue's calls in which acks wait for others to share the
            next one; the first goes at once. Default 0.1.
        publish_timeout: Seconds after which a publish that was not accepted, retries
            included, fails. Default 5.
        publish_linger: Seconds a publishing call waits for as many callers as shared the last
            one. Default 0.02; a single caller never waits.
        publish_batch_size: Messages in a publishing call at most, 1 to 100. Default 100.
        request_timeout: Seconds for one HTTP exchange. Default 10.
        close_timeout: Seconds that closing a connection may take to send its last acks. Default 5.
        fanout: Bind temporary queues (remote control, its replies, event receivers) across
            processes, each by a binding queue; if false, only within the process. Needs
            `create_missing_queues`. Default true.
        control_polling_interval: Seconds between pulls of an idle temporary queue at most; of one
            for events, 1.5 at least. Default 0.6.
        event_rate_share: Part of the account's calls, 0 to 1, that topic messages to temporary
            queues (Celery's events) of all workers together may use; see `fanout.pace`. Default
            0.3; 0: no events.
        gossip: Have workers listen to each other's heartbeats, Celery's gossip. Default: with
            `edge_url`, since without the edge Worker's hub each heartbeat costs a call for each
            other worker.
        large_messages: URL of the object store for messages over 128 KB:
            ``r2://BUCKET/PREFIX`` (with ``R2_ACCESS_KEY_ID``, ``R2_SECRET_ACCESS_KEY``) or
            ``file:///DIRECTORY`` for processes of one machine. Default none: they are refused.
        compression: How messages that would not fit otherwise are compressed: ``zlib``, ``bzip2``
            or ``lzma``, which are slower and pack better. Receivers need no option. Default
            ``zlib``.
        priority_steps: The first priority of each priority level, from 0, which is the most
            urgent, to 9, as in kombu's Redis transport: ``[0, 3, 6, 9]``. Each level is a queue of
            the account. Default none: priorities are ignored.
        create_missing_queues: Create a queue that does not exist, and its pull consumer.
            Default true.
        queue_max_retries: Deliveries after the first, 0 to 100, before a message becomes a dead
            letter; set on the pull consumers that are created. Not called ``max_retries``, since
            kombu puts its retry policy's number among the options by that name. Default 100.
        dead_letter_queue: Name of a queue's dead-letter queue, created with its pull consumer;
            ``{queue}`` stands for the queue's name. Empty: none, and Cloudflare deletes its dead
            letters. Default ``{queue}-dead``.
        queue_name_prefix: Put before every queue's name, so that applications can share an account.
            Default none.
        rate_limit: REST calls (pulls and acks aside) the account may make in `rate_window`;
            0 turns the rate limiter's own limit off. Default 1200.
        rate_window: Seconds to which `rate_limit` applies. Default 300.
        rate_reserve: Part of `rate_limit`, 0 to 0.9, left to other users of the account (the
            dashboard, deployments). Default 0.1.
        rate_share: Part of what remains, over 0 to 1, that this process may use: give each of
            four busy producers 0.25. Default 1.
    """

    api_base_url: str = DEFAULT_API_BASE_URL
    visibility_timeout: float | None = None
    lease_ledger: str = field(default=AUTO_LEDGER, repr=False)  # may hold a password
    edge_url: str = ""
    edge_keys: str = field(default="", repr=False)
    consume: str = "pull"
    pulled_queues: tuple[str, ...] = ()
    foreign_messages: tuple[tuple[str, str], ...] = ()
    ingress_host: str = "127.0.0.1"
    ingress_port: int = 8788
    polling_interval_min: float = 0.05
    polling_interval_max: float = 1.0
    pull_linger: float = 0.05
    ack_linger: float = 0.1
    publish_timeout: float = 5.0
    publish_linger: float = 0.02
    publish_batch_size: int = 100
    request_timeout: float = 10.0
    close_timeout: float = 5.0
    fanout: bool = True
    control_polling_interval: float = 0.6
    event_rate_share: float = 0.3
    gossip: bool | None = None
    large_messages: str = ""
    compression: str = "zlib"
    priority_steps: tuple[int, ...] = ()
    create_missing_queues: bool = True
    queue_max_retries: int = 100
    dead_letter_queue: str = "{queue}-dead"
    queue_name_prefix: str = ""
    rate_limit: int = 1200
    rate_window: float = 300.0
    rate_reserve: float = 0.1
    rate_share: float = 1.0

    def __post_init__(self) -> None:
        """Check every value's type and range; raises `ConfigurationError`."""
        for option in fields(self):
            check_type(option.name, getattr(self, option.name), str(option.type))
        if not self.api_base_url.startswith(("https://", "http://")):
            raise ConfigurationError(
                f"cloudflare transport: option api_base_url must be an http(s) URL, "
                f"not {self.api_base_url!r}"
            )
        self._check_edge()
        if self.lease_ledger not in (AUTO_LEDGER, NO_LEDGER):
            check_ledger_url(self.lease_ledger)
            if self.queue_max_retries == 0:
                raise ConfigurationError(
                    "cloudflare transport: option queue_max_retries must be 1 or more with a "
                    "lease_ledger: what is held for longer than a lease is delivered again"
                )
        if self.large_messages:
            check_store_url("large_messages", self.large_messages)
        if self.compression not in CODECS:
            raise ConfigurationError(
                f"cloudflare transport: option compression must be {', '.join(CODECS[:-1])} or "
                f"{CODECS[-1]}, not {self.compression!r}"
            )
        pattern = self.dead_letter_queue
        if pattern and ("{queue}" not in pattern or pattern == "{queue}"):
            raise ConfigurationError(
                f"cloudflare transport: option dead_letter_queue must hold {{queue}} and more, as "
                f"in '{{queue}}-dead', or be empty, not {pattern!r}"
            )
        steps = self.priority_steps
        if steps and (steps[0] != 0 or steps[-1] > 9 or list(steps) != sorted(set(steps))):
            raise ConfigurationError(
                f"cloudflare transport: option priority_steps must be whole numbers that rise "
                f"from 0 to 9 at most, as in [0, 3, 6, 9], not {list(steps)!r}"
            )
        bounds: dict[str, tuple[float, float]] = {
            "visibility_timeout": (1, MAX_VISIBILITY_TIMEOUT),
            "ingress_port": (0, 65_535),
            "polling_interval_min": (0.001, 3600),
            "polling_interval_max": (self.polling_interval_min, 3600),
            "pull_linger": (0, 10),
            "ack_linger": (0, 10),
            "publish_timeout": (0.1, 3600),
            "publish_linger": (0, 10),
            "publish_batch_size": (1, 100),
            "request_timeout": (0.1, 3600),
            "close_timeout": (0, 3600),
            "queue_max_retries": (0, 100),
            "rate_limit": (0, 1_000_000),
            "rate_window": (1, 86_400),
            "rate_reserve": (0, 0.9),
            "rate_share": (0.001, 1),
            "control_polling_interval": (0.01, 3600),
            "event_rate_share": (0, 1),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigurationError(
                    f"cloudflare transport: option {name} must be {low:g} to {high:g}, "
                    f"not {value!r}"
                )

    def _check_edge(self) -> None:
        if self.edge_url and not self.edge_url.startswith(("https://", "http://")):
            raise ConfigurationError(
                f"cloudflare transport: option edge_url must be an http(s) URL, "
                f"not {self.edge_url!r}"
            )
        if self.edge_url and not self.edge_keys:
            raise ConfigurationError(
                "cloudflare transport: option edge_keys (or CLOUDFLARE_EDGE_KEYS) is missing: with "
                "an edge_url it must hold the Worker's EDGE_KEYS"
            )
        if self.consume not in ("pull", "push"):
            raise ConfigurationError(
                f"cloudflare transport: option consume must be pull or push, not {self.consume!r}"
            )

    def pushes(self, queue: str) -> bool:
        """Return whether the edge Worker pushes the messages of `queue` to this process."""
        return self.consume == "push" and queue not in self.pulled_queues

    def task_of_foreign(self, queue: str) -> str | None:
        """Return the task for which messages of `queue` stand that no Celery has published."""
        return dict(self.foreign_messages).get(queue)

    @property
    def gossips(self) -> bool:
        """Whether workers listen to each other's heartbeats."""
        return bool(self.edge_url) if self.gossip is None else self.gossip

    @classmethod
    def read(
        cls,
        given: Mapping[str, Any],
        environ: Mapping[str, str] | None = None,
        *,
        shared: bool = False,
    ) -> Options:
        """Build the options from kombu's `transport_options` and the environment.

        They are `shared` where a failover list names other brokers: then what is unknown is meant
        for those. Raises `ConfigurationError` for an option that is unknown or ill-typed.
        """
        environ = os.environ if environ is None else environ
        known = {option.name for option in fields(cls)}
        strange = set(given) - known - KOMBU_OPTIONS
        unknown = sorted(strange - foreign(frozenset(strange), shared=shared))
        if unknown:
            raise ConfigurationError(
                f"cloudflare transport: no such option: {', '.join(map(str, unknown))} "
                f"(there are: {', '.join(sorted(known))})"
            )
        values = {name: value for name, value in given.items() if name in known}
        lease = values.get("visibility_timeout")
        if shared and isinstance(lease, int | float) and lease > MAX_VISIBILITY_TIMEOUT:
            values["visibility_timeout"] = MAX_VISIBILITY_TIMEOUT  # Redis takes any
        if values.get("lease_ledger") == "":
            values["lease_ledger"] = NO_LEDGER
        for name in ("priority_steps", "pulled_queues"):
            if isinstance(values.get(name), list):
                values[name] = tuple(values[name])
        if isinstance(tasks := values.get("foreign_messages"), Mapping):
            values["foreign_messages"] = tuple(tasks.items())  # which has a hash
        for name in FROM_ENVIRONMENT:
            if name not in values and environ.get(f"CLOUDFLARE_{name.upper()}"):
                values[name] = environ[f"CLOUDFLARE_{name.upper()}"]
        if isinstance(port := values.get("ingress_port"), str) and port.isdecimal():
            values["ingress_port"] = int(port)
        ledger_url = values.get("lease_ledger")
        if isinstance(ledger_url, str) and ledger_url.startswith(ENV_PREFIX):
            values["lease_ledger"] = environ.get(ledger_url.removeprefix(ENV_PREFIX), "")
            if not values["lease_ledger"]:
                raise ConfigurationError(
                    f"cloudflare transport: option lease_ledger is {ledger_url!r}, but there is no "
                    f"such variable in the environment"
                )
        return cls(**values)
