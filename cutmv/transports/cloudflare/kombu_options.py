"""Transport options that are not this transport's: kombu's, Celery's, other brokers'."""

from __future__ import annotations

import logging
from functools import lru_cache

logger = logging.getLogger(__name__)

#: Keys of `transport_options` that kombu and Celery read themselves, or add while they publish with
#: a retry policy (`kombu.messaging.Producer.publish`).
KOMBU_OPTIONS = frozenset(
    {
        "callback",
        "connect_retries_timeout",
        "deadletter_queue",
        "errback",
        "interval_max",
        "interval_start",
        "interval_step",
        "max_retries",
        "on_revive",
        "polling_interval",
        "retry_errors",
    }
)


#: Options of kombu's transports for other brokers, which apps keep when they come from there.
FOREIGN_OPTIONS = frozenset(
    {
        "ack_emulation",
        "ack_modify_batch_size",
        "client-config",
        "client_name",
        "client_properties",
        "confirm_publish",
        "connect_timeout",
        "fanout_patterns",
        "fanout_prefix",
        "fetch_message_attributes",
        "global_keyprefix",
        "health_check_interval",
        "heartbeat",
        "is_secure",
        "login_method",
        "master_name",
        "max_connections",
        "min_other_sentinels",
        "predefined_exchanges",
        "predefined_queues",
        "queue_order_strategy",
        "queue_tags",
        "read_timeout",
        "region",
        "retry_on_timeout",
        "sentinel_fanout_compat",
        "sentinel_kwargs",
        "sep",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_settings",
        "socket_timeout",
        "sqs-creation-attributes",
        "supports_fanout",
        "unacked_index_key",
        "unacked_key",
        "unacked_mutex_expire",
        "unacked_mutex_key",
        "unacked_restore_interval",
        "unacked_restore_limit",
        "unacked_restore_throttle",
        "wait_time_seconds",
        "write_timeout",
    }
)


@lru_cache  # so that each is logged once
def foreign(unknown: frozenset[str], *, shared: bool) -> frozenset[str]:
    """Return the unknown options that are meant for another broker, and log that they are not used.

    These are the options of kombu's other transports; where options are `shared` with another
    broker, all that are unknown.
    """
    theirs = unknown if shared else unknown & FOREIGN_OPTIONS
    if theirs:
        logger.warning(
            "cloudflare: the transport options %s are another broker's, and have no effect on this",
            ", ".join(sorted(theirs)),
        )
    return theirs
