"""The settings of a deployment, read from the environment once and validated.

The mode is `cloudflare` when the account and the token are set, else `redis` when `REDIS_URL` is,
else `eager`, which needs nothing at all.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit

from cutmv.config.access import Access
from cutmv.config.errors import ConfigError
from cutmv.config.incoming import IncomingObjects
from cutmv.config.limits import MIN_RATE, Limits, Network, networks
from cutmv.config.secret import derived_secret
from cutmv.config.urls import checked_url
from cutmv.install import install_command, missing_packages
from cutmv.secrecy import hide_memory

Mode = Literal["cloudflare", "redis", "eager"]

#: How lines of the log are written: for people, or for programs.
LOG_FORMATS = ("console", "json")
#: The largest number, which databases have too, and its digits.
MAX_NUMBER, MAX_DIGITS = 2**63 - 1, 19
#: The queue of a deployment that names none.
DEFAULT_QUEUE = "cutmv-processing"
#: The suffix of the queue of long steps, which exists where a Worker pushes the other steps.
LONG_SUFFIX = "-long"
#: The suffix of the queue into which R2 tells of objects, which exists where they become uploads.
INCOMING_SUFFIX = "-incoming"
#: The suffix of a queue's dead-letter queue, by the transport's default.
DEAD_SUFFIX = "-dead"
#: The bucket of a deployment that names none.
DEFAULT_BUCKET = "cutmv-storage"
#: The path of the web server's webhook; it completes a WEBHOOK_URL that names no path.
WEBHOOK_PATH = "/api/queue-progress"
#: What the webhook's signatures are bound to: its receiver, method and path.
WEBHOOK_PURPOSE: tuple[Literal["web server"], str, str] = ("web server", "POST", WEBHOOK_PATH)
#: Largest upload, in bytes (10 GB): a long concert recording in 1080p fits.
MAX_UPLOAD_BYTES = 10_000_000_000
#: Bytes of disk for what workers have read of videos in R2 (5 GB): clips of one video share it.
CACHE_BYTES = 5_000_000_000
#: Retries of a step that failed.
MAX_RETRIES = 3
#: Days that uploads, outputs and jobs are kept: inside a monthly cycle.
RETENTION_DAYS = 29
#: Characters of a queue's name, by Cloudflare's rule.
MAX_QUEUE_NAME_CHARS = 63

#: Cloudflare's rule for the name of a queue.
_QUEUE_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment asks for. The repr leaves secrets out.

    `pushed` says that the edge Worker pushes tasks;
    `min_free_bytes` is -1 where each disk's size tells how many;
    `trusted_proxies` are the addresses of proxies that tell who asked them.
    """

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
    #: Whether no other machine can know the secret, since it comes from this data directory's key.
    webhook_secret_is_local: bool = False
    max_retries: int = MAX_RETRIES
    max_upload_bytes: int = MAX_UPLOAD_BYTES
    cache_bytes: int = CACHE_BYTES
    retention_days: int = RETENTION_DAYS
    min_free_bytes: int = -1
    limits: Limits = field(default_factory=Limits)
    #: Bytes a second that a client of the web server has to send or take.
    min_rate: int = MIN_RATE
    trusted_proxies: tuple[Network, ...] = ()
    access: Access = field(default_factory=Access)
    incoming: IncomingObjects = field(default_factory=IncomingObjects)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings from `environ` (default: the process's). Raises ConfigError.

        Creates the data directory, and in it a secret key where the environment gives none.
        """
        if environ is None:
            hide_memory()  # which has secrets
        env = {k: v.strip() for k, v in (os.environ if environ is None else environ).items()}
        # An account without a token is complete: it gives the address of R2.
        account_id = env.get("CLOUDFLARE_ACCOUNT_ID") or None
        api_token = env.get("CLOUDFLARE_API_TOKEN") or None
        has_token = bool(api_token or env.get("CLOUDFLARE_API_TOKEN_FILE"))
        if has_token and not account_id:
            raise ConfigError("CLOUDFLARE_API_TOKEN is set: set CLOUDFLARE_ACCOUNT_ID too.")
        key_id, secret_key = _pair(env, "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY")
        redis_url = env.get("REDIS_URL") or None
        data_dir = _data_dir(env)
        endpoint = env.get("R2_ENDPOINT_URL") or None
        if key_id and not endpoint and not account_id:
            raise ConfigError(
                "R2_ENDPOINT_URL is needed with the R2_ keys: set it to the endpoint."
            )
        if key_id:
            _need_extra("app", "boto3", "R2_ACCESS_KEY_ID")
        if key_id and not endpoint:
            endpoint = f"https://{account_id}.r2.cloudflarestorage.com"
        if (log_format := env.get("CUTMV_LOG_FORMAT") or "console").lower() not in LOG_FORMATS:
            raise ConfigError(f"CUTMV_LOG_FORMAT is {log_format!r}: use console or json.")
        if env.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
            _need_extra("otel", "opentelemetry", "OTEL_EXPORTER_OTLP_ENDPOINT")
        queue_name = env.get("CLOUDFLARE_QUEUE_NAME") or DEFAULT_QUEUE
        if not _QUEUE_NAME.match(queue_name):
            raise ConfigError(
                f"CLOUDFLARE_QUEUE_NAME is {queue_name!r}: use up to 63 of a-z, 0-9 and -,"
                " with a letter or digit at both ends."
            )
        mode = _mode(env, has_token, bool(redis_url))
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
            redis_url=checked_url(redis_url, "REDIS_URL", ("redis", "rediss")),
            account_id=account_id,
            api_token=api_token,
            api_base_url=checked_url(
                env.get("CLOUDFLARE_API_BASE_URL"), "CLOUDFLARE_API_BASE_URL", ("http", "https")
            ),
            r2_bucket=env.get("R2_BUCKET") or DEFAULT_BUCKET,
            r2_access_key_id=key_id,
            r2_secret_access_key=secret_key,
            r2_endpoint_url=checked_url(endpoint, "R2_ENDPOINT_URL", ("http", "https")),
            edge_url=_edge_url(env) if mode == "cloudflare" else None,
            pushed=mode == "cloudflare" and _pushed(env, queue_name),
            webhook_url=_webhook_url(env),
            webhook_secret=env.get("WEBHOOK_SECRET") or derived_secret(env, data_dir),
            webhook_secret_is_local=not (env.get("WEBHOOK_SECRET") or env.get("CUTMV_SECRET_KEY")),
            max_retries=_number(env, "CUTMV_MAX_RETRIES", MAX_RETRIES, least=0),
            max_upload_bytes=_number(env, "CUTMV_MAX_UPLOAD_BYTES", MAX_UPLOAD_BYTES),
            cache_bytes=_number(env, "CUTMV_CACHE_BYTES", CACHE_BYTES),
            retention_days=_number(env, "CUTMV_RETENTION_DAYS", RETENTION_DAYS),
            min_free_bytes=_number(env, "CUTMV_MIN_FREE_BYTES", -1, least=0),
            limits=Limits.read(partial(_number, env)),
            min_rate=_number(env, "CUTMV_MIN_RATE", MIN_RATE),
            trusted_proxies=_trusted_proxies(env),
            access=Access.from_env(env),
            incoming=_incoming(env, mode, bool(key_id), queue_name),
        )

    @property
    def long_queue_name(self) -> str:
        """The queue of steps that may take longer than the edge Worker waits for a pushed task."""
        return f"{self.queue_name}{LONG_SUFFIX}" if self.pushed else self.queue_name

    @property
    def incoming_queue_name(self) -> str | None:
        """The queue into which R2 tells of objects that others have put; None where it does not."""
        return f"{self.queue_name}{INCOMING_SUFFIX}" if self.incoming.prefix else None

    @property
    def queue_names(self) -> tuple[str, ...]:
        """The queues from which a worker takes tasks."""
        names = (self.queue_name, self.long_queue_name, self.incoming_queue_name)
        return tuple(dict.fromkeys(filter(None, names)))

    @property
    def dead_letter_queue_names(self) -> tuple[str, ...]:
        """The queues of messages that no worker could take, which Cloudflare alone has."""
        if self.mode != "cloudflare":
            return ()
        return tuple(f"{name}{DEAD_SUFFIX}" for name in self.queue_names)

    @property
    def uses_r2(self) -> bool:
        """Whether files are kept in R2 (or another S3) rather than in the data directory."""
        return self.r2_access_key_id is not None


def _trusted_proxies(env: Mapping[str, str]) -> tuple[Network, ...]:
    try:
        return networks(env.get("CUTMV_TRUSTED_PROXIES", ""))
    except ValueError as error:
        raise ConfigError(f"CUTMV_TRUSTED_PROXIES: {error}.") from None


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


def _incoming(
    env: Mapping[str, str], mode: Mode, has_bucket: bool, queue_name: str
) -> IncomingObjects:
    found = IncomingObjects.from_env(env, may_be_told=mode == "cloudflare" and has_bucket)
    if found.prefix:
        _leave_room(queue_name, INCOMING_SUFFIX, "CUTMV_INCOMING_PREFIX")
    return found


def _edge_url(env: Mapping[str, str]) -> str | None:
    url = checked_url(env.get("CLOUDFLARE_EDGE_URL"), "CLOUDFLARE_EDGE_URL", ("http", "https"))
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
    _leave_room(queue_name, LONG_SUFFIX, "CLOUDFLARE_CONSUME=push")
    return True


def _leave_room(queue_name: str, suffix: str, variable: str) -> None:
    """Raise ConfigError when a queue's name is too long for another with a suffix."""
    longest = MAX_QUEUE_NAME_CHARS - len(suffix)
    if len(queue_name) > longest:
        raise ConfigError(
            f"CLOUDFLARE_QUEUE_NAME is {len(queue_name)} characters long: use {longest} at most"
            f" with {variable}, which needs a queue of the same name and {suffix}."
        )


def _need_extra(extra: str, package: str, variable: str) -> None:
    """Raise ConfigError when what `variable` asks for is not installed."""
    if missing_packages([package]):
        raise ConfigError(
            f"{variable} is set and the package {package} is missing:"
            f" {install_command(extra)}, or unset {variable}."
        )


def _pair(env: Mapping[str, str], first: str, second: str) -> tuple[str | None, str | None]:
    values = env.get(first) or None, env.get(second) or None
    if (values[0] is None) != (values[1] is None):
        missing, given = (first, second) if values[0] is None else (second, first)
        raise ConfigError(f"{given} is set and {missing} is not: set both, or neither.")
    return values


def _webhook_url(env: Mapping[str, str]) -> str | None:
    url = checked_url(env.get("WEBHOOK_URL"), "WEBHOOK_URL", ("http", "https"))
    # Most people give the address of the site alone.
    return url if url is None or urlsplit(url).path not in ("", "/") else urljoin(url, WEBHOOK_PATH)


def _number(env: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    value = env.get(name)
    if not value:
        return default
    is_number = value.isdecimal() and len(value) <= MAX_DIGITS
    if not is_number or not least <= int(value) <= MAX_NUMBER:
        wanted = "above 0" if least else "from 0 up"
        told = f"{value[:MAX_DIGITS]}…" if len(value) > MAX_DIGITS else value
        raise ConfigError(f"{name} is {told!r}: use a whole number {wanted}.")
    return int(value)


def _database_url(env: Mapping[str, str], data_dir: Path) -> str:
    url = env.get("DATABASE_URL") or f"sqlite:///{data_dir / 'cutmv.db'}"
    scheme, _, rest = url.partition("://")
    # Hosting providers give the short names; SQLAlchemy also wants the driver, which is psycopg.
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
