"""A picture of one image on its way through a spiking network, with one row per layer.

The left of a row shows a sample of the neurons, one line each, with time from left to right: spikes
of the probe, residual potential, spikes of the inference, firing rate and activation.
The right shows the whole layer: spike counts as channel maps, and a histogram of spike counts by
activation.

In radix code, the bits of a number take the place of the time steps, and the number itself that of
the spike count; there is no probe.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.data.classes import class_name
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import LayerTrace, Trace, simulate
from residuum.sw.golden.reference import Reference
from residuum.sw.network.corrections import MASK, check_correction
from residuum.sw.network.integer_network import RADIX, IntegerNetwork

FORMATS = ("png", "svg", "pdf")
# Sampled neurons per layer; with more, a line would be thinner than two pixels.
SAMPLE = 72
# Largest number of channel maps drawn per layer.
CHANNELS = 64
# Distinguishable for readers with colour vision deficiency (Okabe and Ito, 2008).
SPIKE, SILENCED, ACTIVATION, RIGHT = "#0072B2", "#D55E00", "#000000", "#009E73"
QUIET, LINE, TEXT, SOFT = "#F2F3F5", "#C9CDD2", "#1B1F24", "#57606A"
_DPI = 120
_ROW_INCHES, _HEAD_INCHES, _WIDTH_INCHES = 2.75, 2.9, 15.0


@dataclass(frozen=True)
class Scene:
    """The data to draw.

    Attributes
    ----------
    image
        uint8 (C, H, W): number ``index`` of the held-out images, or an image of the user.
    label
        Class of the image, or None.
    trace
        Trace of this image, with all layers.
    rates
        The reference's activations / lambda of each hidden layer, float (C, H, W) in 0..1.
    reference_class
        Prediction of the reference.
    levels
        L of the reference.
    source
        Name of the reference for the reader.
    """

    network: IntegerNetwork
    image: np.ndarray
    index: int
    label: int | None
    trace: Trace
    rates: list[np.ndarray]
    reference_class: int
    levels: int
    source: str
    tau: int
    T: int
    correction: str

    @classmethod
    def of(
        cls,
        network: IntegerNetwork,
        reference: Reference,
        image: np.ndarray,
        *,
        index: int,
        label: int | None,
        tau: int,
        T: int,
        correction: str | None = None,
    ) -> "Scene":
        """Run an image, uint8 (C, H, W), through the golden model and the reference."""
        rates, logits = reference.rates(image[None])
        correction = check_correction(network, correction, tau)
        return cls(
            network,
            image,
            index,
            label,
            simulate(network, image[None], tau=tau, T=T, correction=correction),
            [rate[0].numpy() for rate in rates],
            int(logits.argmax()),
            reference.levels,
            reference.source,
            tau,
            T,
            correction,
        )

    @property
    def radix(self) -> bool:
        """Whether maps hold numbers instead of spike trains."""
        return self.network.code == RADIX

    @property
    def said(self) -> int:
        """The prediction of the spiking network."""
        return int(self.trace.prediction[0])

    def class_name(self, label: int) -> str:
        """The name of a class of the network."""
        return class_name(self.network, label)

    @property
    def verdict(self) -> str:
        """The predicted class in words, and whether it is correct."""
        verdict = f"class {self.class_name(self.said)}"
        if self.label is None:
            return verdict
        right = self.said == self.label
        return f"{verdict}, " + (
            "right" if right else f"wrong: it is {self.class_name(self.label)}"
        )


def check_format(path: Path) -> str:
    """The format of a file name's suffix; ``ResiduumError`` if it is none of ``FORMATS``."""
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise ResiduumError(f"{path} must end in .png, .svg or .pdf")
    return suffix


def sample(trains: np.ndarray, silenced: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, int]:
    """The neurons of a layer that get a line: flat indices, int64 (at most ``SAMPLE``,).

    They are sorted by activation, then by spike count, largest first. If there are too many, the
    neurons without spikes and without activation are dropped, and every n-th of the rest is taken.
    The second value is the number of neurons sampled from.

    Parameters
    ----------
    trains
        bool (S, neurons); ``silenced`` bool and ``rates`` float, (neurons,).
    """
    counts = trains.sum(axis=0)
    order = np.lexsort((np.arange(counts.size), silenced, -counts, -rates))
    if counts.size > SAMPLE:
        active = order[(counts[order] > 0) | (rates[order] > 0)]
        order = active if active.size else order
    if order.size <= SAMPLE:
        return order, int(order.size)
    return order[np.linspace(0, order.size - 1, SAMPLE).round().astype(int)], int(order.size)


def draw(scene: Scene, file_format: str = "png") -> bytes:
    """The picture as the bytes of a file, "png", "svg" or "pdf"."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layers = len(scene.trace.layers)
    height = _HEAD_INCHES + _ROW_INCHES * layers
    style: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        # Names of networks and layers may contain dollar signs.
        "text.parse_math": False,
        "axes.edgecolor": LINE,
        "axes.labelcolor": SOFT,
        "axes.titlecolor": TEXT,
        "text.color": TEXT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "svg.hashsalt": "residuum",
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        # Margins in inches: they do not depend on the number of layers.
        grid = figure.add_gridspec(
            1 + layers,
            1,
            height_ratios=[_HEAD_INCHES - 1.0] + [_ROW_INCHES - 0.95] * layers,
            left=0.065,
            right=0.985,
            top=1 - 0.75 / height,
            bottom=0.6 / height,
            hspace=0.95 / ((height - 1.35 - 0.95 * layers) / (1 + layers)),
        )
        _head(figure, grid[0], scene)
        for index, layer in enumerate(scene.trace.layers):
            _layer(figure, grid[1 + index], scene, index, layer)
        content = io.BytesIO()
        # Leave out the date, so that equal runs give equal files.
        dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        figure.savefig(content, format=file_format, metadata=dated.get(file_format))
    return content.getvalue()


def _head(figure: Any, place: Any, scene: Scene) -> None:
    """Title, image and logits."""
    network = scene.network
    height = figure.get_figheight()
    figure.text(
        0.02,
        1 - 0.2 / height,
        f"{network.name}, image {scene.index}: {scene.verdict}",
        fontsize=16,
        weight="bold",
        va="top",
    )
    figure.text(
        0.98,
        1 - 0.24 / height,
        f"{network.weight_bits}-bit weights   "
        + (
            "radix code"
            if scene.radix
            else f"τ = {scene.tau} probe steps   T = {scene.T} inference steps   {scene.correction}"
        ),
        fontsize=10,
        color=SOFT,
        va="top",
        ha="right",
    )
    image, logits, words = place.subgridspec(1, 3, width_ratios=[1, 3.1, 3], wspace=0.16)
    axes = figure.add_subplot(image)
    # Spike trains are shown as rates.
    image_of = scene.image if scene.image.ndim == 3 else 255 * scene.image.mean(axis=0)
    pixels = image_of.transpose(1, 2, 0)
    rgb = pixels.shape[2] == 3
    axes.imshow(
        pixels if rgb else pixels.mean(axis=2), cmap="gray", vmin=0, vmax=255, interpolation="none"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title("image", loc="left", fontsize=9, color=SOFT)
    _bars(figure.add_subplot(logits), scene)
    _words(figure.add_subplot(words), scene)


def _bars(axes: Any, scene: Scene) -> None:
    """Logits per class, at most the 20 largest."""
    logits = scene.trace.logits[0]
    shown = np.sort(np.argsort(-logits, kind="stable")[:20])
    colors = [SPIKE if c == scene.said else LINE for c in shown]
    axes.bar(range(len(shown)), logits[shown], color=colors, width=0.75)
    axes.axhline(0, color=SOFT, linewidth=0.8)
    names = [scene.class_name(int(c)) for c in shown]
    axes.set_xticks(range(len(shown)), names)
    if max(map(len, names)) > 3:
        axes.tick_params(axis="x", rotation=30)
    if scene.label in shown:
        tick = axes.get_xticklabels()[int(np.flatnonzero(shown == scene.label)[0])]
        tick.set_color(RIGHT)
        tick.set_weight("bold")
    some = "" if len(shown) == len(logits) else f", the {len(shown)} largest of {len(logits)}"
    axes.set_title(f"logits by class{some}", loc="left", fontsize=9, color=SOFT)
    axes.yaxis.set_major_formatter(_thousands)
    axes.tick_params(length=0, labelsize=8)
    _open(axes)


def _words(axes: Any, scene: Scene) -> None:
    """Legend, and counts of neurons and spikes."""
    axes.set_axis_off()
    hidden = scene.trace.layers
    neurons = sum(layer.silenced.size for layer in hidden)
    spikes = sum(int(layer.trains.sum()) for layer in hidden)
    silenced = sum(int(layer.silenced.sum()) for layer in hidden)
    share = 100 * silenced / max(neurons, 1)
    what = "rounded" if scene.radix else "QCFS"
    lines = [
        (SPIKE, "bit of a number" if scene.radix else "spike"),
        (SILENCED, "silenced: v(τ) < 0; maps: pale where it had not fired in the probe"),
        (ACTIVATION, f"{what} activation, L = {scene.levels} levels, of {scene.source}"),
    ]
    if scene.correction != MASK:
        del lines[1]
    for row, (color, text) in enumerate(lines):
        y = 0.93 - 0.17 * row
        axes.scatter([0.015], [y], s=46, color=color, marker="s", transform=axes.transAxes)
        axes.text(0.045, y, text, transform=axes.transAxes, va="center")
    counts = f"{spikes:,} spikes"
    if scene.correction == MASK:
        counts += f", {silenced:,} silenced ({share:.1f} %)"
    if scene.radix:
        counts = f"{spikes:,} bits of 1"
    instead = "numbers" if scene.radix else "spikes"
    found = (
        f"{neurons:,} hidden neurons, {counts}\n"
        f"with activations instead of {instead}: class {scene.class_name(scene.reference_class)}"
    )
    if scene.label is not None:
        found += f"; the label is {scene.class_name(scene.label)}"
    axes.text(0.0, 0.22, found, transform=axes.transAxes, va="center", color=SOFT, linespacing=1.6)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _layer(figure: Any, place: Any, scene: Scene, index: int, layer: LayerTrace) -> None:
    """One row of the picture."""
    tau = scene.tau
    # The map that the layer writes; in radix code, behind max-pooling.
    shape = layer.trains.shape[2:]
    values, full = layer.values[0], int(layer.worth.sum())
    mask = np.zeros(shape, bool) if scene.radix else layer.silenced[0]
    trains = layer.trains[0].reshape(len(layer.worth), -1)
    silenced, rates = mask.reshape(-1), scene.rates[index].reshape(-1)
    chosen, pool = sample(trains, silenced, rates)
    T = len(trains) - tau

    lines, maps, counts = place.subgridspec(1, 3, width_ratios=[6.1, 2.3, 1.9], wspace=0.17)
    steps = [max(tau, 2.5), 3.0, max(T, 2.5), 3.0] if tau else [max(T, 2.5), 3.0]
    columns = lines.subgridspec(1, len(steps), width_ratios=steps, wspace=0.05)
    axes = [figure.add_subplot(columns[0])]
    axes += [figure.add_subplot(column, sharey=axes[0]) for column in list(columns)[1:]]
    if tau:
        _raster(axes[0], trains[:tau, chosen], None, "probe", 1)
        threshold = np.repeat(_threshold(scene, index), math.prod(shape[1:]))
        residual = layer.residual[0].reshape(-1) / threshold
        _residual(axes[1], residual[chosen], silenced[chosen], scene.correction == MASK)
    masked = silenced[chosen] if tau else None
    if scene.radix:
        _raster(axes[-2], trains[:, chosen], None, "bits of the number", 0, "bit")
    else:
        _raster(axes[-2], trains[tau:, chosen], masked, "inference", tau + 1)
    _rates(axes[-1], values.reshape(-1)[chosen] / full, rates[chosen], scene.radix)
    for other in axes[1:]:
        other.tick_params(labelleft=False)
    axes[0].set_ylabel("neurons" if pool == len(chosen) else "neurons, a sample")

    name = scene.network.layers[index].name
    size = " × ".join(map(str, shape))
    title = f"{name}   {size} = {math.prod(shape):,} neurons"
    note = _shown(len(chosen), pool, math.prod(shape))
    axes[0].annotate(
        title,
        (0, 1),
        (0, 24),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=11,
        weight="bold",
        annotation_clip=False,
    )
    axes[-1].annotate(
        note,
        (1, 1),
        (0, 24),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        color=SOFT,
        annotation_clip=False,
    )
    masks = mask.astype(int) + (mask & layer.trains[0, :tau].any(axis=0))
    kind = "numbers" if scene.radix else "spikes"
    unit = f"number 0 .. {full}" if scene.radix else "spikes in T steps"
    levels = full if scene.radix else scene.levels
    _maps(figure.add_subplot(maps), values, masks, full, kind, unit)
    _counts(figure.add_subplot(counts), values.reshape(-1), rates, levels, full, unit)


def _threshold(scene: Scene, index: int) -> np.ndarray:
    threshold = scene.network.layers[index].threshold
    assert threshold is not None
    return threshold


def _shown(lines: int, pool: int, neurons: int) -> str:
    if pool == neurons and lines == pool:
        return "all of them, largest activation first"
    active = f"{pool:,} that fire or should"
    if lines == pool:
        return f"the {active}, largest activation first"
    return f"{lines} of the {active}, largest activation first"


def _raster(
    axes: Any,
    trains: np.ndarray,
    silenced: np.ndarray | None,
    title: str,
    first: int,
    unit: str = "time step",
) -> None:
    """Spikes bool (steps, neurons) as cells; time runs to the right."""
    from matplotlib.colors import ListedColormap

    cells = trains.T.astype(int)
    if silenced is not None:
        cells = np.where(silenced[:, None], 2, cells)
    neurons, steps = cells.shape
    extent = (first - 0.5, first + steps - 0.5, neurons + 0.5, 0.5)
    axes.imshow(
        cells,
        cmap=ListedColormap([QUIET, SPIKE, "#F3C9B0"]),
        vmin=0,
        vmax=2,
        aspect="auto",
        interpolation="none",
        extent=extent,
    )
    for step in range(first, first + steps - 1):
        axes.axvline(step + 0.5, color="white", linewidth=1.2)
    if neurons <= 40:
        for neuron in range(1, neurons):
            axes.axhline(neuron + 0.5, color="white", linewidth=0.8)
    if silenced is not None:
        rows = np.flatnonzero(silenced) + 1
        axes.scatter(np.full(rows.size, extent[0]), rows, s=9, color=SILENCED, marker="s", zorder=3)
    every = max(1, -(-steps // 8))
    axes.set_xticks(range(first, first + steps, every))
    axes.set_xlabel(unit)
    _panel(axes, title)


def _residual(axes: Any, residual: np.ndarray, silenced: np.ndarray, masked: bool) -> None:
    """v(tau) / TH, one dot per neuron; what is below 0 is marked if it is ``masked``."""
    rows = np.arange(1, residual.size + 1)
    # Outliers are drawn at the border, so that the scale fits the other neurons.
    low = max(min(float(np.quantile(residual, 0.05, method="lower")), -0.5), -4.0)
    high = min(max(float(np.quantile(residual, 0.95, method="higher")), 1.0), 4.0)
    shown = np.clip(residual, low, high)
    if masked:
        axes.axvspan(-1e6, 0, color=SILENCED, alpha=0.07, linewidth=0)
    axes.axvline(0, color=SOFT, linewidth=0.9)
    for mask, color, marker in ((~silenced, SPIKE, "o"), (silenced, SILENCED, "s")):
        axes.hlines(rows[mask], 0, shown[mask], color=color, linewidth=0.7, alpha=0.5)
        axes.scatter(shown[mask], rows[mask], s=8, color=color, marker=marker, zorder=3)
    axes.set_xlim(low - 0.1, high + 0.1)
    beyond = int((residual != shown).sum())
    axes.set_xlabel("v(τ) / θ" + (f"   ({beyond} beyond)" if beyond else ""))
    _panel(axes, "residual potential")


def _rates(axes: Any, rates: np.ndarray, activations: np.ndarray, radix: bool) -> None:
    """N/T, or the number as a share of the largest one, as bars; the activation as a tick."""
    rows = np.arange(1, rates.size + 1)
    axes.barh(rows, rates, height=1.0, color=SPIKE, alpha=0.55, linewidth=0)
    axes.scatter(activations, rows, s=26, color=ACTIVATION, marker="|", linewidth=1.3, zorder=3)
    axes.set_xlim(0, 1.04)
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes.set_xlabel(f"{'number / largest' if radix else 'spikes / T'},  | activation / λ")
    _panel(axes, "number" if radix else "firing rate")


def _panel(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=SOFT, pad=4)
    axes.tick_params(length=2, labelsize=8)
    axes.yaxis.set_major_locator(_whole_numbers())
    _open(axes)


def _maps(
    axes: Any, counts: np.ndarray, silenced: np.ndarray, T: int, kind: str, unit: str
) -> None:
    """Spike counts int (C, H, W) of the inference, or numbers, 0 .. T, one map per channel; a dense
    layer is one map.

    ``silenced``: 0 not silenced; 1 silenced without a spike in the probe; 2 silenced after a spike.
    """
    from matplotlib.colors import LinearSegmentedColormap

    channels, height, width = counts.shape
    if height * width == 1:
        width = math.ceil(math.sqrt(channels * 1.4))
        height = -(-channels // width)
        blank = height * width - channels
        counts = np.pad(counts.reshape(-1), (0, blank)).reshape(1, height, width)
        silenced = np.pad(silenced.reshape(-1), (0, blank)).reshape(1, height, width)
        title = f"{kind} of all {channels:,} neurons"
        shown = np.arange(1)
    else:
        shown = np.argsort(-counts.sum(axis=(1, 2)), kind="stable")[:CHANNELS]
        title = f"{kind}, maps of {len(shown)} channels"
        if len(shown) < channels:
            title += f" of {channels}"
    wide = math.ceil(math.sqrt(len(shown) * 1.35 * height / width))
    wide = min(max(wide, 1), len(shown))
    tall = -(-len(shown) // wide)
    mosaic = np.full((tall * (height + 1) - 1, wide * (width + 1) - 1), np.nan)
    muted = np.zeros(mosaic.shape, int)
    for place, channel in enumerate(shown):
        y, x = place // wide * (height + 1), place % wide * (width + 1)
        mosaic[y : y + height, x : x + width] = counts[channel]
        muted[y : y + height, x : x + width] = silenced[channel]
    colors = LinearSegmentedColormap.from_list("spikes", [QUIET, "#7FB6DA", SPIKE, "#003A5D"])
    picture = axes.imshow(mosaic, cmap=colors, vmin=0, vmax=T, interpolation="none", aspect="equal")
    overlay = np.zeros((*mosaic.shape, 4))
    overlay[muted == 1] = (0.835, 0.369, 0, 0.25)
    overlay[muted == 2] = (0.835, 0.369, 0, 1)
    axes.imshow(overlay, interpolation="none", aspect="equal")
    axes.set_anchor("NW")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(title, loc="left", fontsize=9, color=SOFT, pad=4)
    ticks = [0, T] if T < 4 or T % 2 else [0, T // 2, T]
    bar = axes.figure.colorbar(picture, ax=axes, fraction=0.05, pad=0.02, ticks=ticks, aspect=14)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8)
    bar.set_label(unit, fontsize=8, color=SOFT)


def _counts(
    axes: Any, counts: np.ndarray, rates: np.ndarray, levels: int, T: int, unit: str
) -> None:
    """Histogram: number of neurons by activation level (x), and spike count or number (y)."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    level = np.rint(rates * levels).astype(int)
    table = np.zeros((T + 1, levels + 1), int)
    np.add.at(table, (counts, level), 1)
    colors = LinearSegmentedColormap.from_list("neurons", ["#DCEBF5", "#56A3D0", "#003A5D"])
    shown = np.ma.masked_equal(table, 0)
    norm = LogNorm(1, max(int(table.max()), 2))
    axes.set_facecolor(QUIET)
    axes.imshow(
        shown,
        cmap=colors,
        norm=norm,
        origin="lower",
        aspect="auto",
        extent=(-0.5, levels + 0.5, -0.5, T + 0.5),
    )
    axes.plot([0, levels], [0, T], color=ACTIVATION, linewidth=0.8, alpha=0.3)
    if (T + 1) * (levels + 1) <= 49:
        for count, at in np.argwhere(table):
            number = table[count, at]
            dark = norm(number) > 0.5
            axes.text(
                at,
                count,
                _compact(int(number)) if levels > 5 else f"{number:,}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if dark else TEXT,
            )
    axes.set_xticks(range(0, levels + 1, max(1, -(-levels // 8))))
    axes.set_yticks(range(0, T + 1, max(1, -(-T // 8))))
    axes.set_xlabel(f"activation level, 0..{levels}")
    axes.set_ylabel(unit)
    error = float(np.abs(counts / T - rates).mean())
    axes.set_title(
        f"all neurons: mean error {100 * error:.1f} %", loc="left", fontsize=9, color=SOFT, pad=4
    )
    axes.tick_params(length=0, labelsize=8)
    _open(axes)


def _open(axes: Any) -> None:
    """Hide the top and right spines."""
    axes.spines[["top", "right"]].set_visible(False)


def _thousands(value: float, _: object) -> str:
    return f"{value:,.0f}"


def _compact(number: int) -> str:
    """A number in four characters: 873, 1.9k, 12k."""
    if number < 1000:
        return str(number)
    return f"{number / 1000:.1f}k" if number < 9950 else f"{number / 1000:.0f}k"


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4, integer=True, min_n_ticks=1)
