"""Commands and segments of the SDRAM controller."""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from residuum.hw.memory.sdram.parts import BANK_BITS, BURST, WIDTH, Part


def read_layout(part: Part) -> data.StructLayout:
    """A read command: address of the first burst, and number of bursts, which end at the end of
    the chip at the latest. 0 bursts read nothing."""
    return data.StructLayout({"first": part.burst_bits, "count": part.burst_bits + 1})


def address_layout(part: Part) -> data.StructLayout:
    """The address of a word."""
    return data.StructLayout(
        {
            "word": (BURST - 1).bit_length(),
            "column": part.column_bits,
            "bank": BANK_BITS,
            "row": part.row_bits,
        }
    )


def write_layout(part: Part) -> data.StructLayout:
    """A write command: address of a word, and the word."""
    return data.StructLayout({"address": address_layout(part), "data": WIDTH})


def segment_layout(part: Part) -> data.StructLayout:
    """Bursts ``column`` to ``last`` of one row, the last of a read command if ``final``; or a
    write of ``data`` to word ``word`` of burst ``column``."""
    return data.StructLayout(
        {
            "column": part.column_bits,
            "bank": BANK_BITS,
            "row": part.row_bits,
            "last": part.column_bits,
            "final": 1,
            "write": 1,
            "word": (BURST - 1).bit_length(),
            "data": WIDTH,
        }
    )


# A word read, and whether it is the last of its command.
WORD = data.StructLayout({"data": WIDTH, "last": 1})
# A word in each cycle with `valid`. A stream without back-pressure: a port, unlike a stream that is
# always ready, can be one of a top.
WORDS = wiring.Signature({"valid": Out(1), "payload": Out(WORD)})
