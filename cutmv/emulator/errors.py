"""The errors with which a call is refused.

The codes are those of https://developers.cloudflare.com/queues/reference/error-codes/ where that
page has one, and otherwise those that wrangler and the dashboard are known to receive.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False)
class ApiError(Exception):
    """A refused call: the HTTP status, and the code and message of the response's one error."""

    status: int
    code: int
    message: str
    #: Seconds in the `retry-after` header; None sends no header.
    retry_after: int | None = None

    def __str__(self) -> str:
        return f"{self.message} [code: {self.code}]"


def authentication_failed() -> ApiError:
    """The request has no token, or an unknown one."""
    return ApiError(401, 10000, "Authentication error")


def permission_missing() -> ApiError:
    """The token may only read queues, and the call changes one."""
    return ApiError(403, 10000, "Authentication error")


def account_forbidden() -> ApiError:
    """The token is valid, but for another account."""
    return ApiError(403, 9109, "Unauthorized to access requested resource")


def rate_limited(retry_after: int) -> ApiError:
    """The account's limit of REST calls is used up for `retry_after` more seconds."""
    message = "Please wait and consider throttling your request speed"
    return ApiError(429, 971, message, retry_after)


def no_route(path: str) -> ApiError:
    """The API does not have this path."""
    return ApiError(404, 7000, f"No route for that URI: {path}")


def no_method(method: str) -> ApiError:
    """The API has this path, but not with this method."""
    return ApiError(405, 7001, f"Method {method} not available for that URI.")


def queue_not_found(queue_id: str) -> ApiError:
    """No queue of this account has the id."""
    return ApiError(404, 10104, f"Queue {queue_id!r} not found.")


def malformed_queue_id(queue_id: str) -> ApiError:
    """The id is not 32 hexadecimal digits."""
    return ApiError(400, 10107, f"Queue id {queue_id!r} is malformed: want 32 hexadecimal digits.")


def not_json() -> ApiError:
    """The request's body is no JSON document."""
    return ApiError(400, 10208, "Request body is not valid JSON.")


def bad_schema(why: str) -> ApiError:
    """The request's body is JSON, but not of the shape that the call needs."""
    return ApiError(400, 10207, f"Request does not fit the schema: {why}.")


def bad_batch_delay(why: str) -> ApiError:
    """A batch's own `delay_seconds` is invalid."""
    return ApiError(400, 10202, f"Batch delay is invalid: {why}.")


def bad_metadata(why: str) -> ApiError:
    """A message's `content_type` or `delay_seconds` is invalid."""
    return ApiError(400, 10203, f"Message metadata is invalid: {why}.")


def message_too_large(size: int, limit: int) -> ApiError:
    """One message is over its limit; both are in bytes."""
    return ApiError(400, 10204, f"Message is {size} bytes, with its metadata: at most {limit}.")


def batch_too_large(size: int, limit: int) -> ApiError:
    """The messages of one batch together are over the limit; both are in bytes."""
    return ApiError(400, 10205, f"Batch is {size} bytes, with its metadata: at most {limit}.")


def bad_batch_count(count: int, limit: int) -> ApiError:
    """A batch has no message, or too many."""
    return ApiError(400, 10206, f"Batch has {count} messages: want 1 to {limit}.")


def overloaded(retry_after: int) -> ApiError:
    """Cloudflare Queues, rather than the API's gateway, asks the caller to wait (seconds)."""
    return ApiError(429, 10250, "Queue is overloaded. Please back off.", retry_after)


def storage_full(limit: int) -> ApiError:
    """The backlog of one queue is at its limit, in bytes."""
    return ApiError(429, 10251, f"Queue storage limit of {limit} bytes exceeded.")


def unknown_error(status: int) -> ApiError:
    """Something went wrong inside Cloudflare."""
    return ApiError(status, 15000, "Unknown error.")


def bad_queue_name(name: str) -> ApiError:
    """The queue's name is not 1 to 63 of a-z, 0-9 and inner dashes."""
    return ApiError(400, 11003, f"Invalid queue name {name!r}: want 1-63 of a-z, 0-9, inner '-'.")


def queue_name_taken(name: str) -> ApiError:
    """Another queue of the account has this name."""
    message = f"Queue name '{name}' is already taken. Please use a different name and try again."
    return ApiError(409, 11009, message)


def too_many_queues(limit: int) -> ApiError:
    """The account has as many queues as it may."""
    return ApiError(400, 11006, f"Account has reached its limit of {limit} queues.")


def consumer_exists(queue_name: str) -> ApiError:
    """The queue has a consumer already, and may have only one."""
    return ApiError(409, 11004, f"Queue '{queue_name}' already has a consumer.")


def bad_queue_settings(why: str) -> ApiError:
    """A queue's settings are out of bounds."""
    return ApiError(400, 100128, f"Queue settings are invalid: {why}.")


def settings_fixed() -> ApiError:
    """The account's plan does not let a queue's settings be changed."""
    return ApiError(403, 100129, "Queue settings can't be changed on the free plan.")


def bad_consumer_settings(why: str) -> ApiError:
    """A consumer's settings are out of bounds."""
    return ApiError(400, 100127, f"Consumer settings are invalid: {why}.")


def consumer_not_found(consumer_id: str) -> ApiError:
    """The queue has no consumer of this id. Cloudflare's own code for it is not documented."""
    return ApiError(404, 11005, f"Consumer {consumer_id!r} not found.")


def pull_not_enabled(queue_name: str) -> ApiError:
    """The queue has no `http_pull` consumer. Cloudflare's own code for it is not documented."""
    message = f"Queue '{queue_name}' has no http_pull consumer: add one to pull messages."
    return ApiError(405, 10108, message)


def subscription_not_found(subscription_id: str) -> ApiError:
    """No event subscription has the id. Cloudflare's own code for it is not documented."""
    return ApiError(404, 10105, f"Subscription {subscription_id!r} not found.")


def notifications_not_found(bucket: str) -> ApiError:
    """The bucket has no rules for the queue. Cloudflare's own code for it is not documented."""
    return ApiError(404, 11015, f"No event notifications of bucket {bucket!r} found.")


def notifications_overlap(prefix: str) -> ApiError:
    """Another rule tells of the same. Cloudflare's own code for it is not documented."""
    return ApiError(400, 11020, f"The rule for prefix {prefix!r} overlaps another.")
