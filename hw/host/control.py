"""The control registers: steps of a run, its start, and the mode in which neurons use the steps."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data

from residuum.hw.host.port import HostDecoder, address_view
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HOST_WORD_BITS, Control, Region
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
    refused : Signal
        The last RUN had no step of inference, or more steps than the engine has.
    start : Value
        A bit that starts a run, then the first and the last layer.
    asked, waiting : Value
        A run has been requested; it waits until the host's writes have reached all tiles.
    """

    tau: Signal
    inference: Signal
    refused: Signal
    start: Value
    asked: Value
    waiting: Value

    def mode(self, m: Module, config: EngineConfig, layer: data.View) -> data.View:
        """Which slots are steps of the run and of its inference, and how the layer uses them. The
        steps of a run are the last slots."""
        tau, inference = self.tau, self.inference
        mode = Signal(mode_layout(config), reset_less=True)
        total = Signal(config.step_count_bits + 1, reset_less=True)
        m.d.sync += total.eq(tau + inference)
        for step in range(config.steps):
            left = config.steps - 1 - step
            m.d.sync += [
                mode.active[step].eq(total > left),
                mode.inference[step].eq(inference > left),
            ]
        m.d.sync += [mode.pixels.eq(layer.pixels), mode.output.eq(layer.output)]
        return mode


def run_control(
    m: Module, config: EngineConfig, decoder: HostDecoder, *, busy: Value
) -> RunControl:
    """The registers of `Region.CONTROL`. Writes while the engine is ``busy`` are ignored."""
    tau = Signal(config.step_count_bits)
    inference = Signal(config.step_count_bits, init=config.steps)
    refused = Signal(name="_refused")
    word = decoder.word(HOST_WORD_BITS)
    control = address_view(config, Region.CONTROL, decoder.offset)
    # The check of the steps is registered, so a run starts one cycle after the decoded write.
    fits, asked = Signal(), Signal()
    first, last = Signal(config.layer_bits), Signal(config.layer_bits)
    command = decoder.write[Region.CONTROL] & ~busy
    m.d.sync += [
        fits.eq((inference != 0) & (tau + inference <= config.steps)),
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
        ]
    return RunControl(tau, inference, refused, start, asked, Cat(waiting).any())
