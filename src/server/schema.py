"""What JSON a server takes and gives, as pydantic models; the OpenAPI description is made of them."""

import base64
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from src.server.settings import MOST_PICTURES, Settings

LONGEST = -(-Settings.body_bytes // 3) * 4  # characters of a picture of the largest body in base64
LABEL = 200  # characters of a class' name


def unpack(value: object) -> bytes:
    """Strict base64 (RFC 4648, section 4). Raises ValueError for everything else."""
    if not isinstance(value, str):
        raise ValueError("a picture is text in base64")
    if not 0 < len(value) <= LONGEST:
        raise ValueError(f"a picture is 1 to {LONGEST} characters in base64")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("this is not base64") from None


Encoded = Annotated[
    bytes,
    PlainValidator(unpack),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "minLength": 1, "maxLength": LONGEST}),
]
Picture = Annotated[Encoded, Field(description="a picture in base64 (PNG, JPEG, WebP, BMP or GIF)")]
Label = Annotated[str, Field(min_length=1, max_length=LABEL)]
Pixel = Annotated[int, Field(ge=0, le=65_535, strict=True)]


class Strict(BaseModel):
    """No keys beside the named ones, no infinities."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class OnePicture(Strict):
    """A picture in base64."""

    image: Picture


class Pictures(Strict):
    """Several pictures in base64, answered in their order."""

    images: Annotated[
        list[Encoded],
        Field(min_length=1, max_length=MOST_PICTURES,
              description=f"1 to {MOST_PICTURES} pictures in base64; of a single one: image"),
    ]  # fmt: skip


class Correction(Strict):
    """What a digit of a picture is. box: of the answer that it corrects; null where there is one digit only."""

    image: Picture
    box: Annotated[list[Pixel], Field(min_length=4, max_length=4)] | None = Field(
        None, description="[left, top, right, bottom] of a digit of the answer, whole numbers of pixels, or null"
    )
    answer: Annotated[str, Field(max_length=LABEL)] | None = Field(
        None, description=f"what the network said, text of at most {LABEL} characters, or null"
    )
    correction: Label = Field(description=f"the name of a class, text of 1 to {LABEL} characters")


ACCEPTED = {
    name: field.description
    for model in (OnePicture, Pictures, Correction)
    for name, field in model.model_fields.items()
}  # of each key, in words


class Probability(BaseModel):
    """A class and how sure the network is of it."""

    label: str
    probability: float


class Digit(BaseModel):
    """One digit of a picture; of a network that gives a number, its value."""

    label: str | None = None
    probability: float | None = None
    top: list[Probability] | None = None
    value: float | None = None
    box: list[int] = Field(description="left, top, right, bottom in pixels of the upright picture")
    seen: str | None = Field(None, description="what the network sees: a PNG in base64")
    looked: list[list[float]] | None = Field(None, description="where it looked, 0 to 1: Grad-CAM")


class Model(BaseModel):
    """The network that answered."""

    sha256: str
    classes: list[str]


class Answer(BaseModel):
    """What the network says to a picture."""

    prediction: str | None = Field(description="the digits from left to right; null where there are none")
    probability: float | None = Field(None, description="of its least sure digit")
    reason: str | None = Field(None, description="why there is no prediction: empty")
    low_confidence: bool
    inverted: bool
    notes: list[str]
    size: list[int] = Field(description="width and height of the upright picture")
    digits: list[Digit]


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
    """Every error, of every route."""

    error: Problem


class Several(BaseModel):
    """Answers to several pictures; a picture that cannot be read has an error in its place."""

    answers: list[Answer | Failed]
    model: Model
    request_id: str


class Kept(BaseModel):
    """The number under which a correction was kept."""

    id: int


class About(Model):
    """What is known of the network that answers."""

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
    """How the server is."""

    status: str
