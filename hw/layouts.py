"""Layouts of the signals that pass from one folder of ``hw`` to another, along the path of a spike.

They are in one file so that a folder need not import the folders that use its signals. A layout
used in a single folder is in that folder.
"""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from residuum.hw.isa.config import EXTERNAL_WORD_BITS, EngineConfig
from residuum.hw.isa.descriptors import LayerDescriptor


def scan_layout(config: EngineConfig, names: tuple[str, ...]) -> data.StructLayout:
    """The named fields of a layer descriptor, as registers hold them."""
    widths = LayerDescriptor.widths(config)
    return data.StructLayout({name: unsigned(widths[name]) for name in names})


def end_layout() -> data.StructLayout:
    """How a window ends.

    ``shared``: the window stands for all windows without events; ``later``: a window before this
    one is in the same window of the max-pooling; ``more``: another one follows; ``line_last``,
    ``group_last`` and ``layer_last``: it was the last window of its line of the output map, of its
    group of output channels, or of its layer.
    """
    names = ("shared", "later", "more", "line_last", "group_last", "layer_last")
    return data.StructLayout(dict.fromkeys(names, 1))


def event_layout(config: EngineConfig) -> data.StructLayout:
    """One event of stream s, if ``valid``: the train in lane ``lane`` of bank s + ``bank`` *
    event_width of row ``row`` goes to the array with the weight row of its slot; ``weight`` is the
    weight row of slot 0; with ``shift`` the weights count 2**H times."""
    return data.StructLayout(
        {
            "valid": 1,
            "shift": 1,
            "row": unsigned(config.feature_row_bits),
            "lane": unsigned(config.lane_bits),
            "bank": unsigned(config.stream_bank_bits),
            "weight": unsigned(config.weight_row_bits),
        }
    )


def token_layout(config: EngineConfig) -> data.StructLayout:
    """The output of the scanner to the lane array in one cycle.

    ``events``, one of each stream. The end of a window (``flush``): the array hands its sums to the
    drain, before it adds the events of the same cycle; ``how`` belongs to the flush. A window
    without events that shares its result with all such windows is a ``ticket``, which the drain
    queues, or, if it is the last of its group, an ``empty`` flush.
    """
    return data.StructLayout(
        {
            "events": data.ArrayLayout(event_layout(config), config.event_width),
            "flush": 1,
            "empty": 1,
            "ticket": 1,
            "how": end_layout(),
        }
    )


def weights_layout(config: EngineConfig) -> data.ArrayLayout:
    """One weight for each lane of a tile, bit patterns of signed numbers."""
    return data.ArrayLayout(unsigned(config.weight_bits), config.tile_lanes)


def weight_rows_layout(config: EngineConfig) -> data.ArrayLayout:
    """The weight row of an event of each stream."""
    return data.ArrayLayout(unsigned(config.weight_row_bits), config.event_width)


def fill_layout(config: EngineConfig) -> data.StructLayout:
    """A weight row to be written during a run, if ``valid``, from the words that have arrived."""
    return data.StructLayout({"valid": 1, "row": unsigned(config.weight_row_bits)})


def refill_layout(config: EngineConfig) -> data.StructLayout:
    """The refill of the weight store on its way from tile to tile; nothing without an external
    memory. With ``valid`` a ``word``; with ``write`` the words become the weight row of the second
    event."""
    if not config.external:
        return data.StructLayout({})
    return data.StructLayout({"write": 1, "valid": 1, "word": unsigned(EXTERNAL_WORD_BITS)})


def action_layout(config: EngineConfig) -> data.StructLayout:
    """The action of the lane array in one cycle: with ``flush``, hand over the sums and start from
    zero; then add, for each stream, a weight row to the steps in its train (``trains``), with its
    bit of ``shifts`` 2**H times. ``empty``, ``ticket`` and ``how`` come from the scanner's token;
    an ``empty`` window has no sums to hand over."""
    return data.StructLayout(
        {
            "trains": data.ArrayLayout(unsigned(config.steps), config.event_width),
            "shifts": unsigned(config.event_width),
            "flush": 1,
            "empty": 1,
            "ticket": 1,
            "how": end_layout(),
        }
    )


def slot_layout(config: EngineConfig) -> data.StructLayout:
    """One lane of a drained window, or (``empty``) a window without events as a whole."""
    return data.StructLayout(
        {"lane": unsigned(config.lane_bits), "last": 1, "empty": 1, "how": end_layout()}
    )


def mode_layout(config: EngineConfig) -> data.StructLayout:
    """How the steps of the present run and layer are used; constant while a layer runs.

    ``active``: the slot is one of the tau + T steps, or of the K bits of a map in radix code (the
    last of the S slots); ``inference``: the slot is one of the last T steps, or of the K bits;
    ``radix``: v is divided, bit by bit, and the current enters once; ``carry``: v goes on from the
    probe to the inference; ``numbers``: the sums are bit-planes of one current; ``fraction``: this
    current counts 2**f times; ``start_zero``: v starts at 0; ``strict``: neurons fire at v > TH;
    ``output``: sum currents, never fire.
    """
    flags = ("radix", "carry", "numbers", "fraction", "start_zero", "strict", "output")
    return data.StructLayout(
        {
            "active": unsigned(config.steps),
            "inference": unsigned(config.steps),
            **dict.fromkeys(flags, 1),
        }
    )


def target_layout(config: EngineConfig) -> data.StructLayout:
    """Where the results of a layer come from and go; constant while it runs. The fields are those
    of a `LayerDescriptor`, ``row``, ``empty_row`` and ``pitch`` without ``output_``."""
    return data.StructLayout(
        {
            "row": unsigned(config.feature_row_bits),
            "empty_row": unsigned(config.feature_row_bits),
            "pitch": unsigned(config.feature_row_bits),
            "last_lane": unsigned(config.lane_bits),
            "first_lane": unsigned(config.lane_bits),
            "position_lanes": unsigned(config.lane_bits),
            "parameter_row": unsigned(config.parameter_row_bits),
        }
    )


def parameter_layout(config: EngineConfig) -> data.StructLayout:
    """Bias and threshold of a channel: B and TH; of strict neurons B - 1 and TH; in radix code
    B + (TH >> 1) and TH << (K-1)."""
    return data.StructLayout(
        {"bias": signed(config.potential_bits), "threshold": signed(config.potential_bits)}
    )


def write_layout(config: EngineConfig) -> data.StructLayout:
    """The write of one neuron to a bank of the feature memory.

    ``train`` has slot t in bit t; its highest bit says that the neuron was silenced. ``last`` marks
    the last lane of a row. With ``empty`` there is no neuron: the row refers to the shared result
    of windows without events. With ``shared`` the row *is* that result.
    """
    return data.StructLayout(
        {
            "row": unsigned(config.feature_row_bits),
            "lane": unsigned(config.lane_bits),
            "train": unsigned(config.steps + 1),
            "last": 1,
            "empty": 1,
            "shared": 1,
        }
    )
