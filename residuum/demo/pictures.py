"""Pictures of the user: decoded within limits, prepared for a network, and sent back as PNG."""

import io
import threading
from dataclasses import replace

import numpy as np
from PIL import ImageOps

from residuum.demo.errors import TOO_LARGE, RequestError
from residuum.sw.data.pictures import Preparation, as_picture, decode_picture
from residuum.sw.errors import ResiduumError
from residuum.sw.network.integer_network import IntegerNetwork

# The formats of the pictures of cameras, phones and the web; no other decoder is called.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
# A decoded picture takes four bytes a pixel and more.
MOST_PIXELS = 50_000_000
_ONE_AT_A_TIME = threading.Lock()


def prepare(
    data: bytes, network: IntegerNetwork, *, inverted: bool = False, ready: bool = False
) -> np.ndarray:
    """A picture file as an image of the network, uint8 (C, H, W).

    Parameters
    ----------
    inverted
        Make dark what is light: for dark writing on paper, and a network of light digits on black.
    ready
        A picture of the network's size is an image of `png`, and is neither scaled nor cut.

    Raises
    ------
    RequestError
        If the file is no picture of a known format, is damaged, or has too many pixels.
    """
    preparation = Preparation.of(network.input_shape, network.preprocessing)
    name = "the picture in the link" if ready else "the file"
    try:
        with _ONE_AT_A_TIME:
            picture = decode_picture(
                io.BytesIO(data), name, formats=FORMATS, most_pixels=MOST_PIXELS
            )
        if ready and picture.size == network.input_shape[:0:-1]:
            preparation = replace(preparation, size=None, crop=None)
        return preparation.picture(ImageOps.invert(picture) if inverted else picture)
    except ResiduumError as error:
        raise RequestError(str(error)) from None
    except MemoryError:
        raise RequestError(f"{name} is too large for this computer", TOO_LARGE) from None


def png(image: np.ndarray, network: IntegerNetwork) -> bytes:
    """An image of the network as a PNG file, from which `prepare` gives the same image."""
    channels = Preparation.of(network.input_shape, network.preprocessing).channels
    if image.shape[0] == 3 and channels == "BGR":
        image = image[::-1]
    if image.shape[0] not in (1, 3):
        # Another number of channels has no picture: show their mean.
        image = image.mean(axis=0, keepdims=True).astype(np.uint8)
    content = io.BytesIO()
    as_picture(image).save(content, "PNG", optimize=True)
    return content.getvalue()
