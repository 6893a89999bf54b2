"""The control registers: steps of a run, its start, and the mode in which neurons use the steps."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data

from residuum.hw.host.port import HostDecoder, address_view
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HOST_WORD_BITS, Control, Correction, Region
from residuum.hw.layouts import mode_layout

# A host write takes one cycle per tile to reach the last tile. The descriptor fetch of a run is
# long enough for this number of tiles; the run waits one more cycle for each further tile.
TILES_AT_ONCE = 16


@dataclass(frozen=True)
class RunControl:
    """The control registers of an engine, and the run that they request.

    Attributes
    ----------
    tau, inference : Signal
        Steps of the probe and of the inference, as last written. A run in progress keeps them.
    carry : Signal
        The correction, as last written: `Correction.CARRY` or `Correction.MASK`.
    refused : Signal
        The last RUN had no step of inference, or more steps than the engine has.
    start : Value
        A bit that starts a run, then the first and the last layer.
    asked, waiting : Value
        A run has been requested; it waits until the host's writes have reached all tiles.
    """

    tau: Signal
    inference: Signal
    carry: Signal
    refused: Signal
    start: Value
    asked: Value
    waiting: Value

    def mode(self, m: Module, config: EngineConfig, layer: data.View) -> data.View:
        """Which slots are steps of the run and of its inference, and how the layer uses them, two
        cycles after ``layer``. The steps are the last slots: tau + T of them, or in radix code as
        many as the map has bits. An output layer never carries: its sums leave the probe out."""
        mode = Signal(mode_layout(config), reset_less=True)
        radix = layer.bits != 0
        total = Signal(config.step_count_bits + 1, reset_less=True)
        inference = Signal(config.step_count_bits, reset_less=True)
        m.d.sync += [
            total.eq(Mux(radix, layer.bits, self.tau + self.inference)),
            inference.eq(Mux(radix, layer.bits, self.inference)),
            mode.radix.eq(radix),
            mode.carry.eq(self.carry & ~layer.output),
        ]
        for step in range(config.steps):
            left = config.steps - 1 - step
            m.d.sync += [
                mode.active[step].eq(total > left),
                mode.inference[step].eq(inference > left),
            ]
        for name in ("numbers", "fraction", "start_zero", "strict", "output"):
            m.d.sync += mode[name].eq(layer[name])
        return mode


def run_control(
    m: Module, config: EngineConfig, decoder: HostDecoder, *, busy: Value
) -> RunControl:
    """The registers of `Region.CONTROL`. Writes while the engine is ``busy`` are ignored."""
    tau = Signal(config.step_count_bits)
    inference = Signal(config.step_count_bits, init=config.steps)
    carry = Signal(init=Correction.MASK)
    refused = Signal(name="_refused")
    word = decoder.word(HOST_WORD_BITS)
    control = address_view(config, Region.CONTROL, decoder.offset)
    # The check of the steps is registered, so a run starts one cycle after the decoded write.
    fits, asked = Signal(), Signal()
    first, last = Signal(config.layer_bits), Signal(config.layer_bits)
    command = decoder.write[Region.CONTROL] & ~busy
    m.d.sync += [
        fits.eq(
            (inference != 0)
            & (tau + inference <= config.steps)
            & ((tau == 0) | carry | bool(config.masks))
        ),
        asked.eq(command & (control.word == Control.RUN)),
        first.eq(word[:8]),
        last.eq(word[8:16]),
    ]
    start = Cat(asked & fits, first, last)
    waiting = []
    for cycle in range(max(0, config.tiles - TILES_AT_ONCE)):
        later = Signal(len(start), name=f"start_{cycle}")
        m.d.sync += later.eq(start)
        waiting.append(later[0])
        start = later
    with m.If(asked):
        m.d.sync += refused.eq(~fits)
    with m.If(command & (control.word == Control.STEPS)):
        # Store step counts that exceed these registers as values that RUN refuses.
        top = (1 << config.step_count_bits) - 1
        m.d.sync += [
            tau.eq(Mux(word[:8] > top, top, word[:8])),
            inference.eq(Mux(word[8:16] > top, 0, word[8:16])),
            carry.eq(word[16]),
        ]
    return RunControl(tau, inference, carry, refused, start, asked, Cat(waiting).any())
