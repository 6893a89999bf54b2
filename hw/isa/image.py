"""Where the pixels of an image go in the feature memory: a part of the program.

Pure data, shared by the gateware (which packs raw pixels) and the compiler (which makes it).
"""

from dataclasses import dataclass, fields

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import (
    DESCRIPTOR_WORDS,
    LAYER_WORDS,
    LayerDescriptor,
    pack_fields,
)

# Host words of the descriptor of an image: the last ones of those of layer 0, which has fewer.
FIRST_IMAGE_WORD = LAYER_WORDS
IMAGE_WORDS = DESCRIPTOR_WORDS - FIRST_IMAGE_WORD

# Most bytes of a raw image.
MAX_IMAGE_BYTES = 1 << 16
# Channels whose values outside the image may differ.
OUTSIDE_CHANNELS = 4


@dataclass(frozen=True, kw_only=True)
class ImageDescriptor:
    """The input map of a network that reads images, and the results of a run.

    A raw image is uint8 (C, H, W), byte c H W + y W + x. The input map is written band by band
    (`residuum.sw.compiler.maps.PackedMap`): for every position along x, all lines of the band, and
    for every line, all channels. A position or a line may be outside the raw image: it then has the
    values of the network's border, or 0. Lines and positions are relative to the raw image.
    Negative numbers are stored in two's complement, those of bytes modulo `MAX_IMAGE_BYTES`.
    """

    pixels: int  # bytes of an image - 1
    start: int  # byte of the first channel of the first line of the first position
    channel_step: int  # bytes from one channel to the next
    line_step: int  # bytes from the last channel of a line to the first one of the next line
    position_step: int  # likewise from the last line to the next position of the band
    band_step: int  # likewise from the last position to the next band
    outside: int  # four values: channel c has the byte c % 4
    channels: int  # C - 1
    lines: int  # lines of a band - 1
    bands: int  # bands - 1
    step: int  # lines from one band to the next
    width: int  # W
    height: int  # H
    left: int  # first position; negative: positions of the border
    present: int  # 1: there is an image descriptor
    aligned: int  # 1: every position begins a new row, 0: every band
    top: int  # first line of the first band; negative: lines outside
    right: int  # last position
    layers: int  # layers of the network - 1
    logit_shift: int  # the engine's logits are 2**logit_shift times those of the network
    row: int  # row of the feature memory where the input map begins
    classes: int  # classes - 1

    @staticmethod
    def places() -> tuple[dict[str, int], ...]:
        """The host words: the fields that each holds, lowest first, with their widths."""
        return (
            {"pixels": 16, "start": 16},
            {"channel_step": 16, "line_step": 16},
            {"position_step": 16, "band_step": 16},
            {"outside": 8 * OUTSIDE_CHANNELS},
            {"channels": 8, "lines": 8, "bands": 8, "step": 8},
            {"width": 9, "height": 9, "left": 10, "present": 1, "aligned": 1},
            {"top": 10, "right": 10, "layers": 6, "logit_shift": 4},
            {"row": 20, "classes": 12},
        )

    @staticmethod
    def fits(config: EngineConfig) -> bool:
        """Whether the descriptors of layers leave room for it; those of huge engines do not."""
        return len(LayerDescriptor.places(config)) <= FIRST_IMAGE_WORD

    def words(self) -> list[int]:
        """The host words; raises ValueError naming the field that does not fit."""
        return [pack_fields(self, place, SIGNED_FIELDS) for place in self.places()]


SIGNED_FIELDS = frozenset({"left", "top", "right"})
FIELDS = tuple(field.name for field in fields(ImageDescriptor))
