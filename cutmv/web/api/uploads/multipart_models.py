"""The bodies and answers of uploads that come in parts."""

from base64 import b64decode
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

from cutmv.media import HEAD_BYTES

#: Parts that one request asks for.
MAX_SIGNED = 100


def _base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError("it must be a text in base64")
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise ValueError("it must be a text in base64") from None


def read_md5(text: object) -> bytes:
    """The MD5 that a text tells in base64, as Content-MD5 does (RFC 1864). Raises ValueError."""
    if len(digest := _base64(text)) != 16:
        raise ValueError("it must be the 16 bytes of an MD5 in base64")
    return digest


Base64 = Annotated[
    bytes,
    PlainValidator(_base64),
    PlainSerializer(bytes.hex),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
Md5 = Annotated[
    bytes,
    PlainValidator(read_md5),
    PlainSerializer(bytes.hex),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MultipartBody(_Body):
    """A file that is to be sent in parts."""

    filename: str = Field(max_length=1_000)
    size: int = Field(ge=1, description="Bytes.")
    head: Base64 = Field(
        description=f"The first {HEAD_BYTES} bytes of the file, or all of a shorter one, in base64."
    )


class PartBody(_Body):
    """A part that is to be sent."""

    number: int = Field(ge=1, description="From 1.")
    md5: Md5 | None = Field(
        default=None, description="Of its bytes, in base64: no others are taken then."
    )


class PartsBody(_Body):
    """Parts that are to be sent."""

    parts: list[PartBody] = Field(min_length=1, max_length=MAX_SIGNED)
    direct: bool = Field(
        default=True, description="Whether they may go to the storage, where it is another server."
    )


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PartOut(_Answer):
    """A part that is stored."""

    number: int
    size: int = Field(description="Bytes.")
    etag: str = Field(description="The MD5 of its bytes, in hex.")


class MultipartOut(_Answer):
    """An upload that has begun."""

    id: str = Field(description="The upload will have it, too.")
    filename: str
    size: int = Field(description="Bytes.")
    part_bytes: int = Field(description="The size of each part but the last.")
    parts: int = Field(description="How many there are to be.")
    stored: list[PartOut] = Field(description="Those that are stored.")
    created_at: float = Field(description="Seconds since 1970.")
    expires_at: float = Field(description="When it is deleted unless it is finished.")


class MultipartList(_Answer):
    """The uploads that have begun, the newest first; none tells its parts."""

    uploads: list[MultipartOut]


class SignedPartOut(_Answer):
    """Where a part is to be sent, by PUT."""

    number: int
    url: str
    headers: dict[str, str] = Field(description="Those that the request must have.")
    direct: bool = Field(description="Whether that is the storage itself.")


class SignedParts(_Answer):
    """Where parts are to be sent."""

    parts: list[SignedPartOut]
