"""The plot of an exploration: accuracy and area of all points against their time for an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.sim.bench.explore import Point
from residuum.sw.study.plots import write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Distinguishable for readers with colour vision deficiency (Okabe and Ito).
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")


def draw(points: Sequence[Point], best: Sequence[Point], path: Path, *, title: str) -> None:
    """Write the plot, a colour for each network; the best points are filled."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    accuracy, area = figure.subplots(1, 2)
    names = list(dict.fromkeys(point.run.name for point in points))
    for index, name in enumerate(names):
        colour = _COLOURS[index % len(_COLOURS)]
        for chosen, face, label in ((points, "none", name), (best, colour, None)):
            mine = [point for point in chosen if point.run.name == name]
            times = [point.microseconds for point in mine]
            style = {"facecolors": face, "edgecolors": colour, "label": label}
            accuracy.scatter(times, [point.run.accuracy for point in mine], 22, **style)
            area.scatter(times, [point.estimate.lut for point in mine], 22, **style)
    _finish(accuracy, "accuracy, %")
    _finish(area, "LUT sites")
    figure.suptitle(title)
    figure.legend(*accuracy.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    write_png(path, figure)


def _finish(axes: "Axes", label: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("time of an image, us")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3, which="both")
