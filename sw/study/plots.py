"""The plots of a study, drawn from its report."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum.sw.files import write_whole
from residuum.sw.study.measure import ERRORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCURACY = "study-accuracy.png"
TOTAL = "study-total.png"
UNEVENNESS = "study-unevenness.png"
BITS = "study-bits.png"

_SHOWN_TAUS = (1, 2, 4, 8)
# Distinguishable for readers with colour vision deficiency (Okabe and Ito).
_COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#cc79a7")
_CASE_COLOURS = ("#d55e00", "#e69f00", "#0072b2", "#56b4e9")
_MARKERS = ("o", "s", "^", "D", "v")
_SRP_TAU = "4"
_SMALLEST_RANGE = 1.0  # percent


def draw(report: dict[str, Any], folder: Path) -> list[Path]:
    """Write all plots into ``folder``; ``ResiduumError`` if that fails."""
    drawn = {
        ACCURACY: _accuracy(report),
        TOTAL: _total(report),
        UNEVENNESS: _unevenness(report),
        BITS: _bits(report),
    }
    for name, figure in drawn.items():
        write_png(folder / name, figure)
    return [folder / name for name in drawn]


def write_png(path: Path, figure: "Figure") -> None:
    """Write a plot; ``ResiduumError`` if that fails."""
    content = io.BytesIO()
    # Leave out the version of matplotlib, so that equal numbers give equal files.
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    write_whole(path, content.getvalue())


def _panels(count: int, height: float = 3.6) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.2 * count, 6), height), layout="constrained")
    return figure, [figure.add_subplot(1, count, number + 1) for number in range(count)]


def _accuracy(report: dict[str, Any]) -> "Figure":
    figure, panels = _panels(len(report["models"]))
    for axes, model in zip(panels, report["models"], strict=True):
        for tau, colour, marker in zip((0, *_SHOWN_TAUS), _COLOURS, _MARKERS, strict=True):
            values = model["accuracy"][str(tau)][:8]
            label = "plain (tau 0)" if tau == 0 else f"tau {tau}"
            axes.plot(range(1, len(values) + 1), values, color=colour, marker=marker, label=label)
        _finish(axes, model, "T, steps of the inference")
    return figure


def _total(report: dict[str, Any]) -> "Figure":
    figure, panels = _panels(len(report["models"]))
    for axes, model in zip(panels, report["models"], strict=True):
        plain = model["accuracy"]["0"]
        axes.plot(range(1, len(plain) + 1), plain, color=_COLOURS[0], marker="o", label="plain")
        for tau, colour, marker in zip(_SHOWN_TAUS, _COLOURS[1:], _MARKERS[1:], strict=True):
            values = model["accuracy"][str(tau)]
            totals = range(tau + 1, tau + 1 + len(values))
            axes.plot(totals, values, color=colour, marker=marker, label=f"tau {tau}")
        _finish(axes, model, "tau + T, steps in total")
    return figure


def _finish(axes: "Axes", model: dict[str, Any], label: str) -> None:
    axes.axhline(model["ann"]["float"], color="grey", linestyle="--", linewidth=1, label="ANN")
    axes.set_title(model["name"])
    axes.set_xlabel(label)
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _unevenness(report: dict[str, Any]) -> "Figure":
    figure, panels = _panels(len(report["models"]), height=4.2)
    for axes, model in zip(panels, report["models"], strict=True):
        layers = model["unevenness"]["layers"]
        for side, how in ((-0.2, "plain"), (0.2, "srp")):
            places = [index + side for index in range(len(layers))]
            rows = [layer[how] if how == "plain" else layer[how][_SRP_TAU] for layer in layers]
            below = [0.0] * len(layers)
            for case, colour in zip(ERRORS, _CASE_COLOURS, strict=True):
                values = [row[case] for row in rows]
                axes.bar(
                    places,
                    values,
                    width=0.36,
                    bottom=below,
                    color=colour,
                    label=case if how == "plain" else None,
                    hatch="//" if how == "srp" else None,
                    edgecolor="white",
                )
                below = [sum(pair) for pair in zip(below, values, strict=True)]
        axes.set_xticks(range(len(layers)), [layer["name"] for layer in layers], fontsize="small")
        axes.set_title(f"{model['name']}: plain, and behind a probe of {_SRP_TAU} (hatched)")
        axes.set_ylabel("neurons, %")
        axes.legend(fontsize="small")
    return figure


def _bits(report: dict[str, Any]) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    figure, (weight, fraction, potential) = _panels(3)
    for index, model in enumerate(report["models"]):
        colour, marker = _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]
        bits = model["bits"]
        style = {"color": colour, "marker": marker, "label": model["name"]}
        rounded = [row for row in bits["weight"] if not row["fine_tuned"]]
        weight.plot(_column(rounded, "bits"), _at_4_4(rounded), **style)
        tuned = [row for row in bits["weight"] if row["fine_tuned"]]
        weight.plot(_column(tuned, "bits"), _at_4_4(tuned), "*", color=colour, markersize=13)
        fraction.plot(_column(bits["fraction"], "bits"), _at_4_4(bits["fraction"]), **style)
        f = _column(bits["fraction"], "bits")
        potential.plot(f, _column(bits["fraction"], "used"), **style)
        potential.plot(f, _column(bits["fraction"], "bound"), color=colour, linestyle="--")
    potential.axhline(report["engine"]["potential_bits"], color="grey", label="engine")
    weight.set_title("weight bits (star: fine-tuned)")
    fraction.set_title("fraction bits")
    potential.set_title("potentials: on data, and bound (dashed)")
    weight.set_xlabel("b, bits of a weight")
    for axes in (fraction, potential):
        axes.set_xlabel("f, fraction bits")
    for axes in (weight, fraction):
        axes.set_ylabel("accuracy at tau 4, T 4, %")
        low, high = axes.dataLim.intervaly
        if high - low < _SMALLEST_RANGE:
            # The axis spans at least this range, so that a small change looks small.
            axes.set_ylim((low + high - _SMALLEST_RANGE) / 2, (low + high + _SMALLEST_RANGE) / 2)
    potential.set_ylabel("bits")
    potential.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (weight, fraction, potential):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def _column(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]


def _at_4_4(rows: list[dict[str, Any]]) -> list[float]:
    return [row["accuracy"]["4,4"] for row in rows]
