"""Shares as the API takes and shows them."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from cutmv.jobs import MAX_SHARE_DAYS, SHARE_DAYS, Share


class ShareBody(BaseModel):
    """A link to make."""

    model_config = ConfigDict(extra="forbid")

    output: Annotated[str, Field(max_length=255)] | None = Field(
        default=None, description="The name of the one output to show; null for all of the job."
    )
    days: int = Field(default=SHARE_DAYS, ge=1, le=MAX_SHARE_DAYS, strict=True)


class ShareOut(BaseModel):
    """A link; `url` is the link itself, in the answer that makes it alone."""

    model_config = ConfigDict(extra="forbid")

    id: str
    output: str | None = Field(description="The one output that it shows; null for all.")
    created_at: float
    expires_at: float
    url: str | None = None


class ShareList(BaseModel):
    """The links of a job that are good."""

    shares: list[ShareOut]


def share_json(share: Share) -> dict[str, Any]:
    """A share as JSON has it."""
    return {name: each for name, each in asdict(share).items() if name != "job_id"}
