"""The answers of overviews, as pydantic models; see `models`."""

from pydantic import BaseModel, ConfigDict, Field

from cutmv.jobs import DerivativeState
from cutmv.web.api.models import Seconds


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TileOut(_Answer):
    """The size of a small picture, in pixels."""

    width: int
    height: int


class SheetOut(_Answer):
    """Small pictures, side by side in one JPEG, row by row."""

    url: str
    times: list[Seconds] = Field(description="When each is shown, in seconds.")
    columns: int = Field(description="Pictures in a row.")


class PeaksOut(_Answer):
    """How far the sound swings: pairs of signed bytes, the lowest and the highest, of 128."""

    url: str
    a_second: float = Field(description="Pairs a second.")
    rough: bool = Field(description="Whether the sound was heard only here and there so far.")


class OverviewOut(_Answer):
    """What there is of a video's overview; more comes while it is queued or running."""

    state: DerivativeState
    percent: float = Field(ge=0, le=100)
    error: str | None
    tile: TileOut | None
    sheets: list[SheetOut]
    peaks: PeaksOut | None
    keys: list[Seconds] = Field(description="When key pictures are shown, as far as is known.")
