"""Celery's configuration, in Celery's own setting names, made of the settings.

The three modes differ in nothing else.
"""

from typing import Any
from urllib.parse import quote

from kombu import Exchange, Queue

from cutmv.config.settings import Settings

#: Seconds that Celery keeps a result. Jobs live in the job store; results are for other readers.
RESULT_EXPIRES_S = 86_400
#: What the keys of Celery's results in the bucket start with.
RESULTS_PREFIX = "results/"
#: Seconds after which Redis hands an unacknowledged message to another worker. A running step is
#: protected by its claim, so this may be short; a killed worker's messages come back this soon.
REDIS_VISIBILITY_S = 300
#: Seconds in which a publish must have been accepted or is given up, so that a job falls back.
PUBLISH_TIMEOUT_S = 5
#: Seconds to connect to Redis, and to wait for its answer: also what a publish may take.
REDIS_CONNECT_S = 3
REDIS_ANSWER_S = PUBLISH_TIMEOUT_S
#: The task for which R2's messages about objects stand (`cutmv.dispatch.incoming`).
OBJECT_TASK = "cutmv.object"
#: Where in the bucket, or in the data directory, the transport keeps its lease ledger and large
#: messages.
TRANSPORT_FOLDER = "celery"


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery's configuration for the mode, in Celery's own setting names."""
    return {
        **_common(settings),
        **_broker(settings),
        **_results(settings),
    }


def _common(settings: Settings) -> dict[str, Any]:
    return {
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "task_default_queue": settings.queue_name,
        "task_queues": [Queue(name, Exchange(name), name) for name in settings.queue_names],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "broker_connection_retry_on_startup": True,
        # The dispatcher falls back at once when a publish fails; the transport has retried by then.
        "task_publish_retry": False,
        "result_expires": RESULT_EXPIRES_S,
        "result_backend_always_retry": True,
        "result_backend_max_retries": 5,
        "worker_hijack_root_logger": True,
        "enable_utc": True,
        "timezone": "UTC",
    }


def _broker(settings: Settings) -> dict[str, Any]:
    if settings.mode == "cloudflare":
        options: dict[str, Any] = {
            "publish_timeout": PUBLISH_TIMEOUT_S,
            # Workers share it, so they find their lease ledger there, too.
            "large_messages": _shared_store(settings),
        }
        if settings.redis_url and not settings.edge_url:
            # By the name of the variable: whoever sees the configuration sees no password.
            options["lease_ledger"] = "env:REDIS_URL"
        if settings.api_base_url:
            options["api_base_url"] = settings.api_base_url
        if settings.incoming_queue_name:
            options["foreign_messages"] = {settings.incoming_queue_name: OBJECT_TASK}
        if settings.pushed:
            options["pulled_queues"] = [settings.long_queue_name]
        token, account = quote(settings.api_token or "", safe=""), settings.account_id
        return {
            "broker_url": f"cloudflare://:{token}@{account}",
            "broker_transport_options": options,
        }
    if settings.mode == "redis":
        return {
            "broker_url": settings.redis_url,
            "broker_transport_options": {
                "visibility_timeout": REDIS_VISIBILITY_S,
                "socket_connect_timeout": REDIS_CONNECT_S,
                "socket_timeout": REDIS_ANSWER_S,
                "socket_keepalive": True,
                # One attempt to connect: a worker tries again by itself, and the dispatcher falls
                # back instead of waiting for seconds between attempts.
                "max_retries": 0,
            },
            "redis_socket_connect_timeout": REDIS_CONNECT_S,
            "redis_socket_timeout": REDIS_ANSWER_S,
        }
    return {"broker_url": "memory://", "task_always_eager": True}


def _shared_store(settings: Settings) -> str:
    """The URL of the store that all workers share: for the lease ledger and large messages."""
    if settings.uses_r2:
        return f"r2://{settings.r2_bucket}/{TRANSPORT_FOLDER}"
    return (settings.data_dir / TRANSPORT_FOLDER).as_uri()


def _results(settings: Settings) -> dict[str, Any]:
    if settings.mode == "redis":
        return {"result_backend": f"cutmv.worker.results:RedisResults+{settings.redis_url}"}
    if settings.mode == "cloudflare" and settings.edge_url:
        return {"result_backend": "cloudflare://"}
    if settings.mode == "cloudflare" and settings.uses_r2:
        return {
            "result_backend": "s3",
            "s3_bucket": settings.r2_bucket,
            "s3_base_path": RESULTS_PREFIX,
            "s3_access_key_id": settings.r2_access_key_id,
            "s3_secret_access_key": settings.r2_secret_access_key,
            "s3_endpoint_url": settings.r2_endpoint_url,
            "s3_region": "auto",
        }
    url = settings.database_url
    if url.startswith("sqlite"):
        # A file of its own: Celery's writers give up sooner than the job store's when they wait
        # for the same lock.
        url = f"sqlite:///{settings.data_dir / 'results.db'}"
    return {"result_backend": f"db+{url}"}
