"""The errors that the transport raises.

::

    kombu.exceptions.OperationalError
    ├── CloudflareError             Cloudflare, or the network to it, failed
    │   ├── Unreachable             no response: DNS, refused, timed out, dropped
    │   ├── AccessDenied            wrong token, wrong account, missing permission
    │   ├── Throttled               429, or the process's own rate limit is used up
    │   ├── ServerFault             408, 425, 5xx, or a response that is none of the API's
    │   ├── Conflict                409: another call is in the way
    │   ├── NotFound                404, with a code of Cloudflare's: the queue is gone
    │   ├── Refused                 any other 4xx: asking again would change nothing
    │   ├── ThreadBroken            a thread of the connection does not recover by itself
    │   ├── QueueMissing            the queue does not exist and may not be created
    │   └── PublishFailed           one of the above, met while publishing
    │       ├── FailedOver          the same where a failover list names another broker
    │       └── BatchFailed         the same for a batch: names the messages not sent
    └── LedgerUnavailable           the lease ledger does not answer
        └── LedgerRefused           its store says that there is none, or none for this process
    kombu.exceptions.KombuError
    ├── ConfigurationError          options or credentials are missing or wrong
    ├── QueueNameError              the name can't be a Cloudflare queue's name
    ├── MessageTooLarge             over 128 KB, and no object store is set
    ├── TaskTooLong                 a task may take longer than a Worker waits for it
    └── ObjectStoreError            R2, or the directory in its place, failed
        ├── ObjectStoreRefused      there is no such bucket, or the key may not use it
        └── ObjectMissing           there is no such object (any more)

After ``CONNECTION_ERRORS`` kombu and Celery reconnect and try again. The other errors are final:
``PublishFailed`` too, because the client has already retried for as long as ``publish_timeout``
allows, and a caller that has an alternative should take it.
"""

from __future__ import annotations

from collections.abc import Sequence

from kombu.exceptions import KombuError, OperationalError

#: Messages that an error's text names at most; its attribute names all.
MAX_NAMED = 5


class CloudflareError(OperationalError):
    """Cloudflare, or the network to it, failed.

    ``status`` is the HTTP status (0 without a response), ``code`` Cloudflare's error code (0
    when it gave none), ``retry_after`` the seconds it asked to wait (``None``: not said). An error
    with a ``cause`` has its status and code, and passes as it does.
    """

    #: Whether the same call may be accepted later. Nothing else decides what is tried again.
    passing = False

    def __init__(
        self,
        line: str,
        *,
        status: int = 0,
        code: int = 0,
        retry_after: float | None = None,
        cause: CloudflareError | None = None,
    ) -> None:
        super().__init__(line)
        self.status: int = cause.status if cause else status
        self.code: int = cause.code if cause else code
        self.retry_after = retry_after
        if cause:
            self.passing = cause.passing

    def again(self, more: str = "") -> CloudflareError:
        """Return a copy to raise in another thread: sharing one error would mix tracebacks.

        `more` is added to its text.
        """
        return type(self)(str(self) + more, retry_after=self.retry_after, cause=self)


class Unreachable(CloudflareError):
    """No response came; whether the call took effect is unknown."""

    passing = True


class AccessDenied(CloudflareError):
    """The token or the account is wrong, or the token lacks a permission."""


class Throttled(CloudflareError):
    """Cloudflare answered 429, or the process's own rate limit is used up."""

    passing = True


class ServerFault(CloudflareError):
    """Cloudflare could not answer, or what answered is not its API."""

    passing = True


class NotFound(CloudflareError):
    """The queue or other object that the call names does not exist (any more)."""


class Refused(CloudflareError):
    """Cloudflare refused the call because of its content."""


class Conflict(CloudflareError):
    """Another call is in the way, or what the call would create is there."""

    passing = True


class QueueMissing(CloudflareError):
    """The queue, or its pull consumer, does not exist and may not be created."""


class ThreadBroken(CloudflareError):
    """A background thread on which a connection depends meets errors again and again."""


class PublishFailed(CloudflareError):
    """Messages may not have been accepted; the error's text says why."""

    passing = True  # unless its cause does not pass


class FailedOver(PublishFailed, Unreachable):
    """A message was not accepted, and kombu sends it to the next broker of its failover list."""


class BatchFailed(PublishFailed):
    """Messages of a batch were not sent: ``unsent`` has their task ids, or message ids.

    The messages of a call whose response was lost may have been accepted all the same.
    """

    unsent: tuple[str, ...] = ()

    @classmethod
    def naming(cls, unsent: Sequence[str], cause: BaseException | None) -> BatchFailed:
        """Return the error for these messages, with the text of `cause`."""
        error = cls(
            cls.line(unsent) + (f": {cause or type(cause).__name__}" if cause else ""),
            cause=cause if isinstance(cause, CloudflareError) else None,
        )
        error.unsent = tuple(unsent)
        return error

    @staticmethod
    def line(unsent: Sequence[str]) -> str:
        """Return a text that counts the messages not sent, and names the first few."""
        named = ", ".join(unsent[:MAX_NAMED])
        more = f" and {len(unsent) - MAX_NAMED:,} more" if len(unsent) > MAX_NAMED else ""
        return f"{len(unsent):,} message(s) were not sent: {named}{more}"


class LedgerUnavailable(OperationalError):
    """The lease ledger does not answer, or its store refuses access."""


class LedgerRefused(LedgerUnavailable):
    """A store answered that it has no lease ledger, or none that this process may use."""


class ConfigurationError(KombuError, ValueError):
    """An option or a credential is missing or wrong."""


class QueueNameError(KombuError, ValueError):
    """The name can't be mapped to a Cloudflare queue name."""


class MessageTooLarge(KombuError, ValueError):
    """The message is over Cloudflare's limit of 128 KB."""


class TaskTooLong(KombuError, ValueError):
    """A task may take longer than the Worker that pushes it can wait."""


class ObjectStoreError(KombuError):
    """The object store failed; another attempt may succeed."""


class ObjectStoreRefused(ObjectStoreError):
    """There is no such bucket, or the key may not use it."""


class ObjectMissing(ObjectStoreError):
    """There is no such object: it never existed, was removed, or has expired."""


#: Errors that a person has to mend, and whose text says how: no traceback says more.
FOR_PEOPLE = (ConfigurationError, QueueNameError, QueueMissing)

#: Errors from which Celery and kombu recover by connecting again.
CONNECTION_ERRORS = (
    Unreachable,
    AccessDenied,
    Throttled,
    ServerFault,
    Conflict,
    NotFound,
    ThreadBroken,
)


def failure_type(status: int, *, own: bool) -> type[CloudflareError]:
    """Return the type of the error for a response of this status that is no success.

    `own` is false where the response is none that the server called would write: a proxy's page,
    say, which tells nothing about the call.
    """
    if status == 429:
        return Throttled
    if status == 409:
        return Conflict
    if not (own and 400 <= status < 500) or status in (408, 425):
        return ServerFault
    return {401: AccessDenied, 403: AccessDenied, 404: NotFound}.get(status, Refused)


def extra_missing(what: str, extra: str) -> ConfigurationError:
    """Return the error for a feature that needs the packages of an extra of this project."""
    return ConfigurationError(
        f"cloudflare transport: {what} needs more packages: "
        f"pip install '.[{extra}]' in a checkout of CUTMV"
    )
