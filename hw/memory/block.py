"""Dual-port block memory with an output register, used for all block memories of the
design."""

from collections.abc import Iterator, Sequence

from amaranth.hdl import (
    Cat,
    ClockSignal,
    Const,
    Elaboratable,
    Instance,
    Module,
    Signal,
    Value,
)
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import bits_for_count
from residuum.hw.isa.memories import ebr_geometry
from residuum.hw.logic import delayed, select


class BlockMemory(wiring.Component):
    """One write port, one read port, both in ``sync``.

    ``read_data`` shows the word at ``read_address`` `read_latency` cycles later: two, or three
    where it is ``registered``. One read may start in every cycle. Reading a word in the cycle in
    which it is written gives an undefined value on ECP5, so the engine never does it. Two cycles
    are the latency of a DP16KD with its output register, which synthesis never infers: data arrive
    about 1 ns after the clock edge, against 5.8 ns without the register.

    Parameters
    ----------
    width, depth : int
        Bits of a word, and words.
    dual : bool
        Read through the write port, too: ``second_data`` shows the word at ``write_address`` with
        the same latency.
    registered : bool
        Add a fabric register after each EBR, before the multiplexer of several EBR, which may be
        half a device away from the logic that reads them.
    ecp5 : bool
        Instantiate DP16KD primitives instead of describing the behaviour.
    init : sequence of int
        The first words at power-up; the others are 0.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        dual: bool = False,
        registered: bool = False,
        ecp5: bool = False,
        init: Sequence[int] = (),
    ):
        for name, value in (("width", width), ("depth", depth)):
            if not isinstance(value, int):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        if len(init) > depth:
            raise ValueError(f"init must hold at most {depth} words, not {len(init)!r}")
        for word in init:
            if not 0 <= word < 1 << width:
                raise ValueError(f"words of init must fit {width} bits, not {word!r}")
        self.init = tuple(init)
        self.width = width
        self.depth = depth
        self.dual = dual
        self.read_latency = 3 if registered else 2
        self.ecp5 = ecp5
        address_bits = bits_for_count(depth)
        super().__init__(
            {
                "read_address": In(address_bits),
                "read_data": Out(width),
                "write_enable": In(1),
                "write_address": In(address_bits),
                "write_data": In(width),
                "second_data": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        if self.ecp5:
            self._elaborate_ecp5(m)
        else:
            self._elaborate_inferred(m)
        return m

    def _elaborate_inferred(self, m: Module) -> None:
        m.submodules.storage = storage = memory.Memory(
            shape=self.width, depth=self.depth, init=self.init
        )
        write = storage.write_port()
        read = storage.read_port()
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write_enable),
            read.addr.eq(self.read_address),
            read.en.eq(1),
        ]
        m.d.comb += self.read_data.eq(delayed(m, read.data, self.read_latency - 1, "output"))
        if self.dual:
            second = storage.read_port()
            m.d.comb += [
                second.addr.eq(self.write_address),
                second.en.eq(1),
                self.second_data.eq(delayed(m, second.data, self.read_latency - 1, "second")),
            ]

    def _elaborate_ecp5(self, m: Module) -> None:
        words, bits = ebr_geometry(width=self.width, depth=self.depth, dual=self.dual)
        word_bits = bits_for_count(words)
        blocks = -(-self.depth // words)

        outputs, seconds = [], []
        for block in range(blocks):
            enable = Signal(name=f"write_enable_{block}")
            m.d.comb += enable.eq(
                self.write_enable & (self.write_address[word_bits:] == block)
                if blocks > 1
                else self.write_enable
            )
            slices, second_slices = [], []
            for low in range(0, self.width, bits):
                data = self.write_data[low : low + bits]
                init = [
                    word >> low & (1 << bits) - 1
                    for word in self.init[block * words : (block + 1) * words]
                ]
                output = Signal(bits, name=f"output_{block}_{low}")
                second = Signal(bits, name=f"second_{block}_{low}")
                m.submodules[f"ebr_{block}_{low}"] = _dp16kd(
                    bits=bits,
                    write_enable=enable,
                    write_address=self.write_address[:word_bits],
                    write_data=data,
                    read_address=self.read_address[:word_bits],
                    read_data=output,
                    second_data=second if self.dual else None,
                    init=init,
                )
                slices.append(output[: len(data)])
                second_slices.append(second[: len(data)])
            later = self.read_latency - 2
            outputs.append(delayed(m, Cat(*slices), later, f"word_{block}"))
            if self.dual:
                seconds.append(delayed(m, Cat(*second_slices), later, f"second_word_{block}"))

        self._choose(m, "number", self.read_address[word_bits:], outputs, self.read_data)
        if self.dual:
            number = self.write_address[word_bits:]
            self._choose(m, "second_number", number, seconds, self.second_data)

    def _choose(
        self, m: Module, name: str, block: Value, outputs: Sequence[Value], chosen_data: Value
    ) -> None:
        """The output of the EBR that has the word."""
        if len(outputs) == 1:
            m.d.comb += chosen_data.eq(outputs[0])
            return
        # Decode the block number before the register, one bit per block: no decoder after the EBR.
        number = delayed(m, block, self.read_latency - 1, name)
        chosen = Signal(len(outputs), name=f"{name}_chosen", reset_less=True)
        m.d.sync += chosen.eq(Cat(number == index for index in range(len(outputs))))
        m.d.comb += chosen_data.eq(select(chosen, outputs))


def ebr_init(words: Sequence[int], *, bits: int) -> Iterator[int]:
    """The parameters INITVAL_00 to INITVAL_3F of a DP16KD with these initial words.

    Each one holds 16 groups of 18 bits, 20 bits apart. Words of 9, 18 and 36 bits fill them one
    after another; smaller ones leave the highest bit of each 9 free.
    """
    group_bits = 18 if bits >= 9 else 16
    image = 0
    for word in reversed(words):
        image = image << bits | word
    for _ in range(64):
        value = 0
        for position in range(0, 320, 20):
            group = image & (1 << group_bits) - 1
            if group_bits == 16:
                group = group >> 8 << 9 | group & 0xFF
            value |= group << position
            image >>= group_bits
        yield value


def _dp16kd(
    *,
    bits: int,
    write_enable: Value,
    write_address: Value,
    write_data: Value,
    read_address: Value,
    read_data: Signal,
    second_data: Signal | None,
    init: Sequence[int],
) -> Module:
    """A DP16KD that writes through port A and reads through port B, and through port A if there is
    ``second_data``, with output registers.

    36 bits: the upper half of the word goes through the data pins of port B, and the four lowest
    address bits of the write port are byte enables (two for 18 bits).
    """
    low_bits = {36: 5, 18: 4, 9: 3, 4: 2, 2: 1, 1: 0}[bits]
    byte_enables = {36: 4, 18: 2}.get(bits, 0)
    address_low = Const((1 << byte_enables) - 1, low_bits) if low_bits else Const(0, 0)
    write_pins = Signal(14)
    read_pins = Signal(14)
    data_pins = Signal(36)
    out_a, out_b = Signal(18), Signal(18)
    ports = {}
    for index in range(14):
        ports[f"i_ADA{index}"] = write_pins[index]
        ports[f"i_ADB{index}"] = read_pins[index]
    for index in range(18):
        ports[f"i_DIA{index}"] = data_pins[index]
        ports[f"i_DIB{index}"] = data_pins[18 + index]
        ports[f"o_DOA{index}"] = out_a[index]
        ports[f"o_DOB{index}"] = out_b[index]
    m = Module()
    m.submodules.dp16kd = Instance(
        "DP16KD",
        p_DATA_WIDTH_A=bits,
        p_DATA_WIDTH_B=bits,
        p_REGMODE_A="OUTREG",
        p_REGMODE_B="OUTREG",
        p_RESETMODE="SYNC",
        p_ASYNC_RESET_RELEASE="SYNC",
        p_CSDECODE_A="0b000",
        p_CSDECODE_B="0b000",
        p_WRITEMODE_A="NORMAL",
        p_WRITEMODE_B="NORMAL",
        p_GSR="DISABLED",
        **{
            f"p_INITVAL_{index:02X}": Const(value, 320)
            for index, value in enumerate(ebr_init(init, bits=bits))
            if init
        },
        i_CLKA=ClockSignal("sync"),
        i_CLKB=ClockSignal("sync"),
        i_CEA=Const(1),
        i_CEB=Const(1),
        i_OCEA=Const(1),
        i_OCEB=Const(1),
        i_WEA=write_enable,
        i_WEB=Const(0),
        i_RSTA=Const(0),
        i_RSTB=Const(0),
        **{f"i_CS{port}{index}": Const(0) for port in "AB" for index in range(3)},
        **ports,
    )
    m.d.comb += [
        write_pins.eq(Cat(address_low, write_address)),
        read_pins.eq(Cat(Const(0, low_bits), read_address)),
        data_pins.eq(write_data),
        read_data.eq(Cat(out_a, out_b) if bits == 36 else out_b),
    ]
    if second_data is not None:
        m.d.comb += second_data.eq(out_a)
    return m
