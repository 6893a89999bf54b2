"""The bus between controller and chip: commands, addresses and data, without the clock."""

from enum import IntEnum

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.parts import ADDRESS_BITS, BANK_BITS, WIDTH

# In the column address of a precharge: all banks. In that of a read or write: precharge after it.
A10 = 1 << 10


class Command(IntEnum):
    """Bit 0 is RAS, bit 1 CAS, bit 2 WE; 1 is active, which is low on the pins."""

    NOTHING = 0b000
    ACTIVATE = 0b001
    READ = 0b010
    REFRESH = 0b011
    STOP = 0b100
    PRECHARGE = 0b101
    WRITE = 0b110
    MODE = 0b111


def mode_register(cas_latency: int) -> int:
    """The mode: reads of 8 words in order, writes of one word."""
    return 1 << 9 | cas_latency << 4 | 3


class SdramBus(wiring.Signature):
    """Members, from the controller

    command : Out(Command)
        One in every cycle. Chip select and clock enable are always on.
    bank, address : Out
        Of the command.
    mask : Out(1)
        Both DQM pins.
    data_out : Out(16), drive : Out(1)
        The word of a write, in the same cycle, and the enable of the outputs.
    data_in : In(16)
        What is on the data pins.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "command": Out(Command),
                "bank": Out(BANK_BITS),
                "address": Out(ADDRESS_BITS),
                "mask": Out(1),
                "data_out": Out(WIDTH),
                "drive": Out(1),
                "data_in": In(WIDTH),
            }
        )
