"""The answer of proxies, as a pydantic model; see `models`."""

from pydantic import BaseModel, ConfigDict, Field

from cutmv.jobs import DerivativeState


class ProxyOut(BaseModel):
    """How far a proxy is, and where it is when it is made."""

    model_config = ConfigDict(extra="forbid")

    state: DerivativeState
    percent: float = Field(ge=0, le=100)
    error: str | None
    url: str | None = Field(description="The film, by ranges; null until it is made.")
