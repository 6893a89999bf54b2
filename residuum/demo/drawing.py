"""A drawing made of strokes, as the image that a network reads.

The page sends strokes, not pixels: so the same link gives the same image in every browser, and the
drawing can be made for a network of any size.
"""

from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
from PIL import Image, ImageDraw

from residuum.demo.errors import RequestError
from residuum.sw.network.graph import Shape

# Bytes of a drawing, as `Drawing.parse` reads them.
MOST_BYTES = 12_288
# Coordinates run from 0 to SIDE.
SIDE = 255
# Drawn up to so many times larger, then averaged, so that lines have soft edges; and the longest
# side of such a drawing.
_FINE, _MOST_SIDE = 16, 4096
# A small drawing is enlarged at most this many times.
_MOST_ZOOM = 4.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """How strokes become an image of a certain size.

    Attributes
    ----------
    pen
        Width of a line, as a share of the image's height.
    box
        The strokes, with their width, are scaled in proportion to fill a square of this share of
        the image's height; None: they stay where they are.
    by_mass
        Whether the centre of mass comes to the centre of the image; else the centre of the box.
    """

    pen: float
    box: float | None = None
    by_mass: bool = False


# A digit of MNIST fills 20 of 28 pixels and is centred by mass (LeCun et al., 1998).
MNIST = Style(pen=2.6 / 28, box=20 / 28, by_mass=True)
# The 8x8 digits of scikit-learn fill the image.
SMALL_DIGITS = Style(pen=1.35 / 8, box=1.0)
FREE = Style(pen=0.07)


@dataclass(frozen=True)
class Drawing:
    """Strokes, each of one point or more; a point is (x, y), 0 .. `SIDE`, from the upper left."""

    strokes: tuple[tuple[Point, ...], ...]

    @classmethod
    def parse(cls, data: bytes) -> "Drawing":
        """Read the bytes of a drawing: for each stroke the number of its points, 1 .. 255, then x
        and y of each.

        Raises ``RequestError`` if the bytes end within a stroke, or are too many.
        """
        if len(data) > MOST_BYTES:
            raise RequestError(
                f"the drawing has {len(data):,} bytes; at most {MOST_BYTES:,} are read"
            )
        strokes, place = [], 0
        while place < len(data):
            end = place + 1 + 2 * data[place]
            if end > len(data) or not data[place]:
                raise RequestError("the drawing in the link is damaged")
            numbers = [float(value) for value in data[place + 1 : end]]
            strokes.append(tuple(zip(numbers[::2], numbers[1::2], strict=True)))
            place = end
        return cls(tuple(strokes))

    def image(self, shape: Shape, style: Style) -> np.ndarray:
        """White lines on black, uint8 (C, H, W); all channels are equal."""
        channels, height, width = shape
        fine = max(1, min(_FINE, _MOST_SIDE // max(height, width)))
        strokes, pen = self._placed(width, height, style), style.pen * height
        pixels = _painted(strokes, (width, height), pen, fine)
        if style.by_mass and pixels.any():
            rows, columns = np.indices(pixels.shape)
            weight = pixels / pixels.sum()
            shift = (
                (width - 1) / 2 - float((columns * weight).sum()),
                (height - 1) / 2 - float((rows * weight).sum()),
            )
            pixels = _painted(_moved(strokes, shift), (width, height), pen, fine)
        return np.repeat(pixels[None], channels, axis=0)

    def _placed(self, width: int, height: int, style: Style) -> list[list[Point]]:
        """The strokes in pixels of the image."""
        points = [point for stroke in self.strokes for point in stroke]
        if not points:
            return []
        scaled = np.array(points) * (width / SIDE, height / SIDE)
        low, high = scaled.min(axis=0), scaled.max(axis=0)
        zoom, offset = 1.0, np.zeros(2)
        if style.box is not None:
            room = (style.box - style.pen) * height
            zoom = min(room / max(float((high - low).max()), 1e-9), _MOST_ZOOM)
            offset = np.array((width, height)) / 2 - zoom * (low + high) / 2
        placed = iter((zoom * scaled + offset).tolist())
        return [[(x, y) for x, y in islice(placed, len(stroke))] for stroke in self.strokes]


def style_for(dataset: str, class_names: tuple[str, ...]) -> Style:
    """The style of drawings for a network of this data set, with these classes."""
    if dataset == "digits":
        return SMALL_DIGITS
    return MNIST if class_names == tuple("0123456789") else FREE


def _moved(strokes: list[list[Point]], by: Point) -> list[list[Point]]:
    return [[(x + by[0], y + by[1]) for x, y in stroke] for stroke in strokes]


def _painted(
    strokes: list[list[Point]], size: tuple[int, int], pen: float, fine: int
) -> np.ndarray:
    """Lines with round ends, uint8 (height, width); points, size and pen in pixels."""
    canvas = Image.new("L", (size[0] * fine, size[1] * fine))
    draw, radius = ImageDraw.Draw(canvas), pen * fine / 2
    for stroke in strokes:
        points = [(x * fine, y * fine) for x, y in stroke]
        for start, end in pairwise(points):
            draw.line((*start, *end), fill=255, width=max(1, round(2 * radius)))
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(canvas.reduce(fine))
