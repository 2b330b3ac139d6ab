"""The JSON that the server accepts and returns, as pydantic models.

The names and fields of the models are part of the OpenAPI description: clients are generated from it.
"""

import base64
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from src.server.settings import MAX_PICTURES, Settings

MAX_BASE64 = -(-Settings.body_bytes // 3) * 4  # characters of a picture that fills the largest body
MAX_NAME = 200  # characters of a class name


def decode_base64(value: object) -> bytes:
    """Strict base64 (RFC 4648, section 4). Raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError("a picture must be a base64 string")
    if not 0 < len(value) <= MAX_BASE64:
        raise ValueError(f"a picture must have 1 to {MAX_BASE64} characters in base64")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("not valid base64") from None


Encoded = Annotated[
    bytes,
    PlainValidator(decode_base64),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "minLength": 1, "maxLength": MAX_BASE64}),
]
Picture = Annotated[Encoded, Field(description="a picture in base64 (PNG, JPEG, WebP, BMP or GIF)")]
ClassName = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Pixel = Annotated[int, Field(ge=0, le=65_535, strict=True)]


class Strict(BaseModel):
    """Rejects unknown keys and infinite numbers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class OnePicture(Strict):
    """One picture in base64."""

    image: Picture


class Pictures(Strict):
    """Several pictures in base64, answered in order."""

    images: Annotated[
        list[Encoded],
        Field(min_length=1, max_length=MAX_PICTURES,
              description=f"1 to {MAX_PICTURES} pictures in base64; for a single one give image instead"),
    ]  # fmt: skip


class Correction(Strict):
    """The true class of a picture. box: which part of the answer; null if there is only one."""

    image: Picture
    box: Annotated[list[Pixel], Field(min_length=4, max_length=4)] | None = Field(
        None,
        description="[left, top, right, bottom] of an entry of digits in the answer, whole numbers of pixels, or null",
    )
    answer: Annotated[str, Field(max_length=MAX_NAME)] | None = Field(
        None, description=f"the network's answer, at most {MAX_NAME} characters, or null"
    )
    correction: ClassName = Field(description=f"the name of a class, 1 to {MAX_NAME} characters")


ACCEPTED = {
    name: field.description
    for model in (OnePicture, Pictures, Correction)
    for name, field in model.model_fields.items()
}  # key -> accepted values, for error messages


class Probability(BaseModel):
    """A class and its probability."""

    label: str
    probability: float


class Digit(BaseModel):
    """What a picture shows, or one character of several; if the network predicts a number, its value."""

    label: str | None = None
    probability: float | None = None
    top: list[Probability] | None = None
    value: float | None = None
    box: list[int] = Field(description="left, top, right, bottom in pixels of the upright picture")
    seen: str | None = Field(None, description="what the network sees: a PNG in base64")
    looked: list[list[float]] | None = Field(None, description="where the network looked: a Grad-CAM map, 0 to 1")


class Model(BaseModel):
    """The network that answered."""

    sha256: str
    classes: list[str]


class Answer(BaseModel):
    """The network's answer to a picture."""

    prediction: str | None = Field(description="the classes, characters from left to right; null if there are none")
    probability: float | None = Field(None, description="of the least certain of them")
    reason: str | None = Field(None, description="why there is no prediction: empty")
    low_confidence: bool
    inverted: bool
    notes: list[str]
    size: list[int] = Field(description="width and height of the upright picture")
    digits: list[Digit] = Field(description="one entry for a picture, or one for each character on it")


class Single(Answer):
    """The answer to one picture."""

    model: Model
    request_id: str


class Problem(BaseModel):
    """What is wrong."""

    code: str
    message: str
    request_id: str


class Failed(BaseModel):
    """An error, of any route."""

    error: Problem


class Several(BaseModel):
    """The answers to several pictures; an error in place of a picture that cannot be decoded."""

    answers: list[Answer | Failed]
    model: Model
    request_id: str


class Kept(BaseModel):
    """The number of a stored correction."""

    id: int


class About(Model):
    """The network that answers, and how it was trained."""

    engine: str
    temperature: float | None
    shape: list[int]
    target: str | None
    epoch: int | None
    views: int
    ink: bool
    looks: bool
    accuracy: float | None


class State(BaseModel):
    """The state of the server."""

    status: str
