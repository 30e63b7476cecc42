"""Hooks as the API takes and shows them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cutmv.jobs import Delivery, Hook


class HookBody(BaseModel):
    """A webhook to make."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(description="Where the ends of one's jobs are told; `https`.", max_length=2000)


class HookChange(BaseModel):
    """What to change of a webhook."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(strict=True)


class HookOut(BaseModel):
    """A webhook; its `secret` is in the answer that makes it, or a new one, alone."""

    id: str
    url: str
    created_at: float
    enabled: bool
    disabled_why: str | None
    secret: str | None = None


class HookList(BaseModel):
    """One's own webhooks."""

    webhooks: list[HookOut]


class DeliveryOut(BaseModel):
    """An event for a webhook; `id` is the `webhook-id` of its requests."""

    id: str
    type: str
    job_id: str | None
    happened_at: float
    state: Literal["waiting", "delivered", "failed"]
    attempts: int
    next_at: float | None
    answer: str | None = Field(description="What the last attempt was answered.")


class DeliveryList(BaseModel):
    """The latest events for a webhook, the newest first."""

    deliveries: list[DeliveryOut]


class TestOut(BaseModel):
    """A test that will be sent."""

    id: str


def hook_json(hook: Hook) -> dict[str, Any]:
    """A hook as JSON has it."""
    return {
        "id": hook.id,
        "url": hook.url,
        "created_at": hook.created_at,
        "enabled": hook.disabled_at is None,
        "disabled_why": hook.disabled_why,
    }


def delivery_json(delivery: Delivery) -> dict[str, Any]:
    """A delivery as JSON has it."""
    return {
        "id": f"msg_{delivery.id}",
        "type": delivery.event,
        "job_id": delivery.job_id,
        "happened_at": delivery.happened_at,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_at": delivery.due_at,
        "answer": delivery.answer,
    }
