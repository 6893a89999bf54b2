"""What the page asks for: one run of one picture, as a JSON object."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from residuum.demo.errors import RequestError

# Steps of a run, tau + T; more would only make the page slow.
MOST_STEPS = 32


@dataclass(frozen=True)
class HeldOut:
    """Number of a test image, from 0."""

    index: int


@dataclass(frozen=True)
class Strokes:
    """A drawing, in the bytes of `residuum.demo.drawing.Drawing.parse`."""

    data: bytes


@dataclass(frozen=True)
class Picture:
    """A picture file of the user, or the one that `residuum.demo.pictures.prepare` made of it."""

    data: bytes


@dataclass(frozen=True)
class Request:
    """One run.

    Attributes
    ----------
    network, bits
        Name of an offered network, and the bits of its weights.
    tau, T, correction
        Stages of the run; a correction of None is the usual one.
    source
        What is classified.
    """

    network: str
    bits: int
    tau: int
    T: int
    correction: str | None
    source: HeldOut | Strokes | Picture


def parse(body: Any) -> Request:
    """The request in a JSON value; ``RequestError`` says what is wrong with it."""
    if not isinstance(body, dict):
        raise RequestError("the request must be a JSON object")
    tau, T = _number(body, "tau", 0), _number(body, "T", 1)
    if tau + T > MOST_STEPS:
        raise RequestError(
            f"tau = {tau} and T = {T} are {tau + T} steps; the page shows at most {MOST_STEPS}"
        )
    correction = body.get("correction")
    if correction is not None and not isinstance(correction, str):
        raise RequestError("the field correction must be a text")
    return Request(
        _text(body, "network"), _number(body, "bits", 1), tau, T, correction, _source(body)
    )


def _source(body: dict[str, Any]) -> HeldOut | Strokes | Picture:
    given = [name for name in ("test", "strokes", "picture") if name in body]
    if len(given) != 1:
        raise RequestError("the request must have one of the fields test, strokes, picture")
    if given == ["test"]:
        return HeldOut(_number(body, "test", 0))
    data = decoded(_text(body, given[0]))
    return Strokes(data) if given == ["strokes"] else Picture(data)


def decoded(text: str) -> bytes:
    """The bytes of a base64 text, in either alphabet, with padding or without."""
    try:
        plain = text.replace("-", "+").replace("_", "/").rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("the picture in the link is damaged: it is no base64") from None


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise RequestError(f"the field {name} must be a text")
    return value


def _number(body: dict[str, Any], name: str, least: int) -> int:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"the field {name} must be a whole number")
    if value < least:
        raise RequestError(f"the field {name} must be at least {least}, not {value}")
    return value
