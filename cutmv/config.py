"""All of the environment, read once and validated, and the Celery configuration it asks for.

The three modes differ only in what `celery_config` returns: `cloudflare` when the account and the
token are set, else `redis` when `REDIS_URL` is, else `eager`, which needs nothing at all.
"""

import base64
import contextlib
import hashlib
import hmac
import importlib.util
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urljoin, urlsplit

from kombu import Exchange, Queue

Mode = Literal["cloudflare", "redis", "eager"]

#: The queue of a deployment that names none; the user's document gives it.
DEFAULT_QUEUE = "cutmv-processing"
#: What is put behind its name for the queue of long steps, where a Worker pushes the others.
LONG_SUFFIX = "-long"
#: The bucket of a deployment that names none.
DEFAULT_BUCKET = "cutmv-storage"
#: Where our web server takes progress from workers, on a WEBHOOK_URL that names no path.
WEBHOOK_PATH = "/api/queue-progress"
#: Largest upload, in bytes (10 GB): a long concert recording in 1080p fits.
MAX_UPLOAD_BYTES = 10_000_000_000
#: Days that uploads, outputs and jobs are kept: inside a monthly cycle.
RETENTION_DAYS = 29
#: Seconds that Celery keeps a result. Jobs live in the job store; results are for other readers.
RESULT_EXPIRES_S = 86_400
#: Where in the bucket Celery's results are.
RESULTS_PREFIX = "results/"
#: Seconds after which Redis hands an unacknowledged message to another worker. A running step is
#: protected by its claim, so this may be short; a killed worker's messages come back this soon.
REDIS_VISIBILITY_S = 300
#: Seconds in which a publish must have been accepted or is given up, so that a job falls back.
PUBLISH_TIMEOUT_S = 5
#: Seconds to connect to Redis, and to wait for its answer: also what a publish may take.
REDIS_CONNECT_S = 3
REDIS_ANSWER_S = PUBLISH_TIMEOUT_S

#: Cloudflare's rule for the name of a queue.
_QUEUE_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class ConfigError(Exception):
    """A variable is missing or wrong. One line that names it and says what to do."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment asks for. Secrets are left out of the repr."""

    mode: Mode
    data_dir: Path
    database_url: str = field(repr=False)
    queue_name: str = DEFAULT_QUEUE
    redis_url: str | None = field(default=None, repr=False)
    account_id: str | None = None
    api_token: str | None = field(default=None, repr=False)
    api_base_url: str | None = None
    r2_bucket: str = DEFAULT_BUCKET
    r2_access_key_id: str | None = field(default=None, repr=False)
    r2_secret_access_key: str | None = field(default=None, repr=False)
    r2_endpoint_url: str | None = None
    edge_url: str | None = None
    pushed: bool = False
    webhook_url: str | None = None
    webhook_secret: str = field(default="", repr=False)
    max_upload_bytes: int = MAX_UPLOAD_BYTES
    retention_s: float = RETENTION_DAYS * 86_400.0

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings from `environ` (default: the process's). Raises ConfigError.

        Creates the data directory, and in it the secret key that is used when none is given.
        """
        env = {k: v.strip() for k, v in (os.environ if environ is None else environ).items()}
        # The account alone is not a half of anything: it also gives the address of R2.
        account_id = env.get("CLOUDFLARE_ACCOUNT_ID") or None
        api_token = env.get("CLOUDFLARE_API_TOKEN") or None
        if api_token and not account_id:
            raise ConfigError("CLOUDFLARE_API_TOKEN is set: set CLOUDFLARE_ACCOUNT_ID too.")
        key_id, secret_key = _pair(env, "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY")
        redis_url = env.get("REDIS_URL") or None
        data_dir = _data_dir(env)
        endpoint = env.get("R2_ENDPOINT_URL") or None
        if key_id and not endpoint and not account_id:
            raise ConfigError(
                "R2_ENDPOINT_URL is needed with the R2_ keys: set it to the endpoint."
            )
        if key_id and not endpoint:
            endpoint = f"https://{account_id}.r2.cloudflarestorage.com"
        queue_name = env.get("CLOUDFLARE_QUEUE_NAME") or DEFAULT_QUEUE
        if not _QUEUE_NAME.match(queue_name):
            raise ConfigError(
                f"CLOUDFLARE_QUEUE_NAME is {queue_name!r}: use up to 63 of a-z, 0-9 and -,"
                " with a letter or digit at both ends."
            )
        mode = _mode(env, bool(api_token), bool(redis_url))
        if mode == "redis":
            _need_extra("redis", "redis", "REDIS_URL")
        database_url = _database_url(env, data_dir)
        if database_url.startswith("postgresql"):
            _need_extra("postgres", "psycopg", "DATABASE_URL")
        return cls(
            mode=mode,
            data_dir=data_dir,
            database_url=database_url,
            queue_name=queue_name,
            redis_url=_url(redis_url, "REDIS_URL", ("redis", "rediss")),
            account_id=account_id,
            api_token=api_token,
            api_base_url=_url(
                env.get("CLOUDFLARE_API_BASE_URL"), "CLOUDFLARE_API_BASE_URL", ("http", "https")
            ),
            r2_bucket=env.get("R2_BUCKET") or DEFAULT_BUCKET,
            r2_access_key_id=key_id,
            r2_secret_access_key=secret_key,
            r2_endpoint_url=_url(endpoint, "R2_ENDPOINT_URL", ("http", "https")),
            edge_url=_edge_url(env) if mode == "cloudflare" else None,
            pushed=mode == "cloudflare" and _pushed(env, queue_name),
            webhook_url=_webhook_url(env),
            webhook_secret=env.get("WEBHOOK_SECRET") or _derived_secret(env, data_dir),
            max_upload_bytes=_positive(env, "CUTMV_MAX_UPLOAD_BYTES", MAX_UPLOAD_BYTES),
            retention_s=_positive(env, "CUTMV_RETENTION_DAYS", RETENTION_DAYS) * 86_400.0,
        )

    @property
    def long_queue_name(self) -> str:
        """The queue of steps that may take longer than a Worker waits for a task it pushed."""
        return f"{self.queue_name}{LONG_SUFFIX}" if self.pushed else self.queue_name

    @property
    def queue_names(self) -> tuple[str, ...]:
        """All that a worker takes steps from."""
        return tuple(dict.fromkeys((self.queue_name, self.long_queue_name)))

    @property
    def uses_r2(self) -> bool:
        """Whether files are kept in R2 (or another S3) rather than in the data directory."""
        return self.r2_access_key_id is not None


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
        "task_track_started": True,
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "broker_connection_retry_on_startup": True,
        # A failed publish falls back at once; the transport has tried again by then.
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
            # By name, so that no one who may see the configuration sees a password.
            "lease_ledger": "env:REDIS_URL" if settings.redis_url else _shared(settings),
            "large_messages": _shared(settings),
        }
        if settings.api_base_url:
            options["api_base_url"] = settings.api_base_url
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
                # One attempt to connect: a worker has a loop of its own around it, a publisher
                # falls back, and would wait for seconds between attempts.
                "max_retries": 0,
            },
            "redis_socket_connect_timeout": REDIS_CONNECT_S,
            "redis_socket_timeout": REDIS_ANSWER_S,
        }
    return {"broker_url": "memory://", "task_always_eager": True}


def _shared(settings: Settings) -> str:
    """Where workers note which messages they hold, and keep those over Cloudflare's limit."""
    if settings.uses_r2:
        return f"r2://{settings.r2_bucket}/celery"
    return (settings.data_dir / "celery").as_uri()


def _results(settings: Settings) -> dict[str, Any]:
    if settings.mode == "redis":
        return {"result_backend": f"cutmv.results:RedisResults+{settings.redis_url}"}
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
        # A file of its own: Celery's writers don't wait for the job store's as those do.
        url = f"sqlite:///{settings.data_dir / 'results.db'}"
    return {"result_backend": f"db+{url}"}


def _mode(env: Mapping[str, str], has_cloudflare: bool, has_redis: bool) -> Mode:
    wanted = (env.get("CUTMV_MODE") or "auto").lower()
    match wanted:
        case "auto":
            return "cloudflare" if has_cloudflare else "redis" if has_redis else "eager"
        case "cloudflare" if has_cloudflare:
            return "cloudflare"
        case "redis" if has_redis:
            return "redis"
        case "eager":
            return "eager"
        case "cloudflare":
            raise ConfigError(
                "CUTMV_MODE is cloudflare: set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN too."
            )
        case "redis":
            raise ConfigError("CUTMV_MODE is redis: set REDIS_URL too.")
    raise ConfigError(f"CUTMV_MODE is {wanted!r}: use auto, cloudflare, redis or eager.")


def _edge_url(env: Mapping[str, str]) -> str | None:
    url = _url(env.get("CLOUDFLARE_EDGE_URL"), "CLOUDFLARE_EDGE_URL", ("http", "https"))
    if url and not env.get("CLOUDFLARE_EDGE_KEYS"):
        raise ConfigError(
            "CLOUDFLARE_EDGE_URL is set and CLOUDFLARE_EDGE_KEYS is not: set it to the Worker's"
            " EDGE_KEYS."
        )
    if url:
        _need_extra("push", "websockets", "CLOUDFLARE_EDGE_URL")
    return url


def _pushed(env: Mapping[str, str], queue_name: str) -> bool:
    consume = (env.get("CLOUDFLARE_CONSUME") or "pull").lower()
    if consume not in ("pull", "push"):
        raise ConfigError(f"CLOUDFLARE_CONSUME is {consume!r}: use pull or push.")
    if consume == "pull":
        return False
    if not env.get("CLOUDFLARE_EDGE_KEYS"):
        raise ConfigError(
            "CLOUDFLARE_CONSUME is push: set CLOUDFLARE_EDGE_KEYS to the Worker's EDGE_KEYS, with"
            " which it signs what it pushes."
        )
    _need_extra("push", "starlette", "CLOUDFLARE_CONSUME")
    if len(queue_name + LONG_SUFFIX) > 63:
        raise ConfigError(
            f"CLOUDFLARE_QUEUE_NAME is {len(queue_name)} characters long: use"
            f" {63 - len(LONG_SUFFIX)} at most with CLOUDFLARE_CONSUME=push, which needs a queue"
            f" of the same name and {LONG_SUFFIX}."
        )
    return True


def _need_extra(extra: str, package: str, variable: str) -> None:
    """Raise ConfigError when what `variable` asks for is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"{variable} is set and the package {package} is missing:"
            f" install 'cutmv[{extra}]', or unset {variable}."
        )


def _pair(env: Mapping[str, str], first: str, second: str) -> tuple[str | None, str | None]:
    values = env.get(first) or None, env.get(second) or None
    if (values[0] is None) != (values[1] is None):
        missing, given = (first, second) if values[0] is None else (second, first)
        raise ConfigError(f"{given} is set and {missing} is not: set both, or neither.")
    return values


def _url(value: str | None, name: str, schemes: tuple[str, ...]) -> str | None:
    if not value:
        return None
    # The value may hold a password, so it is never repeated in the error.
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{name} is not a URL that starts with {schemes[0]}://HOST: correct it.")
    return value


def _webhook_url(env: Mapping[str, str]) -> str | None:
    url = _url(env.get("WEBHOOK_URL"), "WEBHOOK_URL", ("http", "https"))
    # The user's document gives the address of the site; the path is ours.
    return url if url is None or urlsplit(url).path not in ("", "/") else urljoin(url, WEBHOOK_PATH)


def _positive(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name)
    if not value:
        return default
    if not value.isdecimal() or int(value) == 0:
        raise ConfigError(f"{name} is {value!r}: use a whole number above 0.")
    return int(value)


def _database_url(env: Mapping[str, str], data_dir: Path) -> str:
    url = env.get("DATABASE_URL") or f"sqlite:///{data_dir / 'cutmv.db'}"
    scheme, _, rest = url.partition("://")
    # Hosting providers give the short names; SQLAlchemy wants the driver that we depend on.
    if scheme in ("postgres", "postgresql"):
        return f"postgresql+psycopg://{rest}"
    if scheme not in ("sqlite", "postgresql+psycopg"):
        raise ConfigError("DATABASE_URL must start with sqlite:/// or postgresql://: correct it.")
    return url


def _data_dir(env: Mapping[str, str]) -> Path:
    state_home = env.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    data_dir = Path(env.get("CUTMV_DATA_DIR") or Path(state_home, "cutmv")).expanduser().absolute()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The data directory {data_dir} can't be made ({error.strerror}):"
            " set CUTMV_DATA_DIR to a folder you may write."
        ) from error
    return data_dir


def _derived_secret(env: Mapping[str, str], data_dir: Path) -> str:
    """A webhook secret every process finds by itself: of CUTMV_SECRET_KEY, or of a kept key."""
    key = env.get("CUTMV_SECRET_KEY") or _kept_key(data_dir / "secret_key")
    digest = hmac.new(key.encode(), b"cutmv webhook", hashlib.sha256).digest()
    return "whsec_" + base64.b64encode(digest).decode()


def _kept_key(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read ({error.strerror}): set CUTMV_SECRET_KEY."
        ) from error
    # Written whole beside it, then linked: of two processes that start at once, one wins.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".secret-") as file:
        file.write(secrets.token_urlsafe(32))
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)
    return path.read_text()
