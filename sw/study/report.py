"""All measurements of a study in one report of plain values, the source of page and plots."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.convert.to_integer import SPIKE_FRACTION_BITS, FractionBits, to_integer
from residuum.sw.errors import ResiduumError
from residuum.sw.files import Arrays
from residuum.sw.network.bounds import bounds, signed_bits
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.network.library import float_file, zoo_file
from residuum.sw.pieces.run import Piece, Pool, run
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.study.measure import CASES, right_ann, right_images, right_with_reset, unevenness
from residuum.sw.study.simulator import Reset
from residuum.sw.train.fine_tuning import float_accuracy

TAUS = tuple(range(1, 9))
LONGEST_T = 8
PLAIN_STEPS = max(TAUS) + LONGEST_T
RESETS: tuple[Reset, ...] = ("zero", "start")
UNEVENNESS_T = 4
UNEVENNESS_TAUS = (1, 2, 4, 8)
WEIGHT_BITS = tuple(range(3, 9))
FRACTION_BITS = tuple(range(7))
STANDARD_BITS = 8
# Settings (tau, T) for the comparison of bit widths, and their longest stage.
BITS_STAGES = ((0, 4), (0, 8), (4, 4))
BITS_STEPS = 8
# Images per portion; each finished portion is kept.
PORTION = 250
ONE_CORE = Pool(jobs=1, in_threads=True)


@dataclass(frozen=True)
class Subject:
    """The networks of one model of the study.

    Attributes
    ----------
    name, dataset
        Names of the model and of its data set.
    eight, four
        The committed 8-bit and 4-bit networks; the 4-bit network is fine-tuned, and may be None.
    source
        The float network before rounding.
    """

    name: str
    dataset: str
    eight: IntegerNetwork
    four: IntegerNetwork | None
    source: FloatNetwork


def load_subject(name: str, folder: Path) -> Subject:
    """The files NAME-8bit.npz, NAME-float.npz and, if there, NAME-4bit.npz of ``folder``.

    Raises ``FileNotFoundError`` with a sentence if one of the first two is missing, and
    ``ResiduumError`` if a file is damaged or they do not belong together.
    """
    files = {
        "eight": zoo_file(name, STANDARD_BITS, folder),
        "float": float_file(name, folder),
        "four": zoo_file(name, 4, folder),
    }
    for part in ("eight", "float"):
        if not files[part].exists():
            raise FileNotFoundError(
                f"there is no {files[part]} (`residuum train {name}` makes one, in build/zoo)"
            )
    eight = IntegerNetwork.load(files["eight"])
    if "dataset" not in eight.metadata:
        raise ResiduumError(f"{files['eight']} does not say which data set it is for")
    source = FloatNetwork.load(files["float"])
    if source.input_shape != eight.input_shape or len(source.layers) != len(eight.layers):
        raise ResiduumError(f"{files['float']} and {files['eight']} are not of the same network")
    four = IntegerNetwork.load(files["four"]) if files["four"].exists() else None
    return Subject(name, eight.metadata["dataset"], eight, four, source)


@dataclass(frozen=True)
class Images:
    """Held-out images, uint8 (N, C, H, W), and labels, int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def portions(self) -> list[tuple[int, int]]:
        """First image and number of images of each portion."""
        total = len(self.labels)
        return [(first, min(PORTION, total - first)) for first in range(0, total, PORTION)]


@dataclass(frozen=True)
class _Part:
    """A measurement of some images, by a function with the arguments network, images, labels and
    ``settings``; ``steps`` is its work per image."""

    function: Callable[..., Any]
    network: IntegerNetwork | FloatNetwork
    steps: int
    settings: Mapping[str, Any]


class Study:
    """Measures one model, portion by portion; finished portions are kept.

    Parameters
    ----------
    subject, data
        The model and the images.
    pool
        Where the portions are measured.
    """

    def __init__(
        self, subject: Subject, data: Images, pool: Pool = ONE_CORE, reporter: Reporter = SILENT
    ) -> None:
        self.subject = subject
        self.data = data
        self.pool = pool
        self.reporter = reporter
        self._found: dict[str, list[Any]] = {}

    def run(self) -> dict[str, Any]:
        """The report of this model, in plain JSON values."""
        self._found = self._measured()
        sweep = _joined(self._found["sweep"])
        right = {0: sweep["plain"], **{tau: sweep[f"srp_{tau}"] for tau in TAUS}}
        return {
            "name": self.subject.name,
            "dataset": self.subject.dataset,
            "images": len(self.data.labels),
            "levels": self.subject.source.levels,
            "ann": self._ann(),
            "accuracy": {str(tau): _percent_rows(rows) for tau, rows in right.items()},
            "same_total": same_total(right),
            "reset": self._resets(right[0]),
            "unevenness": self._unevenness(),
            "bits": self._bits(),
        }

    def _parts(self) -> dict[str, _Part]:
        """All measurements, by the name under which their results are found."""
        eight, source, levels = self.subject.eight, self.subject.source, range(1, LONGEST_T + 1)
        sweep = {"plain_steps": PLAIN_STEPS, "stages": dict.fromkeys(TAUS, LONGEST_T)}
        resets = {"steps": LONGEST_T, "resets": RESETS}
        uneven = {"T": UNEVENNESS_T, "taus": UNEVENNESS_TAUS}
        uneven_steps = max(UNEVENNESS_TAUS) + len(UNEVENNESS_TAUS) * UNEVENNESS_T
        bits = {
            "plain_steps": BITS_STEPS,
            "stages": {tau: T for tau, T in BITS_STAGES if tau > 0},
            "record": True,
        }
        return {
            "sweep": _Part(right_images, eight, PLAIN_STEPS + len(TAUS) * LONGEST_T, sweep),
            "ann": _Part(right_ann, eight, LONGEST_T, {"levels": tuple(levels)}),
            "float": _Part(float_accuracy, source, 0, {}),
            "reset": _Part(right_with_reset, eight, len(RESETS) * LONGEST_T, resets),
            "unevenness": _Part(unevenness, eight, uneven_steps, uneven),
            **{
                name: _Part(right_images, network, _BITS_WORK, bits)
                for name, network in self._of_all_bits.items()
            },
        }

    @functools.cached_property
    def _of_all_bits(self) -> dict[str, IntegerNetwork]:
        """The network with all weight and fraction bits, and the fine-tuned one."""
        widths = [(bits, SPIKE_FRACTION_BITS) for bits in WEIGHT_BITS]
        widths += [(STANDARD_BITS, fraction) for fraction in FRACTION_BITS]
        networks = {
            f"{bits},{fraction}": to_integer(
                self.subject.source, bits=bits, fraction_bits=FractionBits(spikes=fraction)
            )
            for bits, fraction in dict.fromkeys(widths)
        }
        four = self.subject.four
        return networks if four is None else networks | {"fine-tuned": four}

    def _measured(self) -> dict[str, list[Any]]:
        """The results of all portions of each part."""
        named = [
            (name, self._piece(name, part, first, first + count))
            for name, part in self._parts().items()
            for first, count in self.data.portions()
        ]
        results = run(
            [piece for _, piece in named],
            self.pool,
            title=f"study {self.subject.name}",
            unit="steps",
            doing="measured",
            reporter=self.reporter,
        )
        found: dict[str, list[Any]] = {}
        for (name, _), result in zip(named, results, strict=True):
            found.setdefault(name, []).append(result)
        return found

    def _piece(self, name: str, part: _Part, first: int, last: int) -> Piece:
        given: dict[str, Any] = {
            **part.settings,
            "network": part.network,
            "images": self.data.images[first:last],
        }
        if part.function is not unevenness:
            given["labels"] = self.data.labels[first:last]
        title = f"{self.subject.name}, {name}, images {first} to {last - 1}"
        return Piece(part.function, given, title, part.steps * (last - first))

    def _ann(self) -> dict[str, Any]:
        portions = zip(self._found["float"], self.data.portions(), strict=True)
        right = sum(round(share * count) for share, (_, count) in portions)
        return {
            "float": 100 * right / len(self.data.labels),
            "rounded": _percent_rows(_joined(self._found["ann"])["right"]),
        }

    def _resets(self, subtraction: np.ndarray) -> dict[str, list[float]]:
        right = _joined(self._found["reset"])
        return {
            "subtraction": _percent_rows(subtraction[:LONGEST_T]),
            **{reset: _percent_rows(right[reset]) for reset in RESETS},
        }

    def _unevenness(self) -> dict[str, Any]:
        counts, taus = _added(self._found["unevenness"]), UNEVENNESS_TAUS
        layers = [
            _unevenness_layer(layer.name, counts, index, taus, len(self.data.labels))
            for index, layer in enumerate(self.subject.eight.layers[:-1])
        ]
        return {"T": UNEVENNESS_T, "taus": list(taus), "layers": layers}

    def _bits(self) -> dict[str, Any]:
        networks = self._of_all_bits
        seen = {name: _bits_seen(self._found[name]) for name in networks}
        rows = {name: _bits_row(network, seen[name]) for name, network in networks.items()}
        weight = [
            {"bits": bits, "fine_tuned": False, **rows[f"{bits},{SPIKE_FRACTION_BITS}"]}
            for bits in WEIGHT_BITS
        ]
        if self.subject.four is not None:
            bits = self.subject.four.weight_bits
            weight.append({"bits": bits, "fine_tuned": True, **rows["fine-tuned"]})
        fraction = [{"bits": bits, **rows[f"{STANDARD_BITS},{bits}"]} for bits in FRACTION_BITS]
        standard = f"{STANDARD_BITS},{SPIKE_FRACTION_BITS}"
        potentials = _potentials(networks[standard], seen[standard])
        return {"weight": weight, "fraction": fraction, "potentials": potentials}


_BITS_WORK = BITS_STEPS + sum(T for tau, T in BITS_STAGES if tau > 0)


def same_total(right: Mapping[int, np.ndarray]) -> list[dict[str, Any]]:
    """SRP against plain conversion with the same total number of steps.

    ``right`` holds bool (T, N) for each tau. The difference is paired, on the same images: with b
    images that only SRP classifies correctly, and c images that only plain conversion does, it is
    (b - c)/N, and its standard error is sqrt(b + c - (b - c)**2/N)/N; both in percent.
    """
    rows = []
    plain = right[0]
    for total in range(2, len(plain) + 1):
        for tau, srp in right.items():
            T = total - tau
            if tau > 0 and 1 <= T <= len(srp):
                difference, error = paired_difference(srp[T - 1], plain[total - 1])
                rows.append(
                    {
                        "total": total,
                        "tau": tau,
                        "T": T,
                        "plain": _percent(plain[total - 1]),
                        "srp": _percent(srp[T - 1]),
                        "difference": difference,
                        "error": error,
                    }
                )
    return rows


def paired_difference(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Accuracy of ``first`` minus that of ``second`` on the same images, and its standard error.

    Both results are in percent; both arguments are bool (N,).
    """
    n = len(first)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    difference = only_first - only_second
    variance = only_first + only_second - difference**2 / n
    return 100 * difference / n, 100 * float(np.sqrt(variance)) / n


def standard_error(accuracy: float, images: int) -> float:
    """Standard error of an accuracy p on N images: sqrt(p (1 - p) / N); both in percent."""
    share = accuracy / 100
    return 100 * float(np.sqrt(share * (1 - share) / images))


def _unevenness_layer(
    name: str, counts: Arrays, index: int, taus: Sequence[int], images: int
) -> dict[str, Any]:
    neurons = int(counts["plain"][index].sum())

    def shares(row: np.ndarray) -> dict[str, float]:
        return {case: 100 * int(n) / neurons for case, n in zip(CASES, row, strict=True)}

    too_many, too_few = counts["own"][index].tolist()
    silenced = {}
    for row, tau in enumerate(taus):
        all_of_them, right, effective, right_effective = counts["silenced"][row, index].tolist()
        silenced[str(tau)] = {
            "silenced": 100 * all_of_them / neurons,
            "of them right": 100 * right / all_of_them if all_of_them else None,
            "would have fired": 100 * effective / neurons,
            "of those right": 100 * right_effective / effective if effective else None,
        }
    return {
        "name": name,
        "neurons": neurons // images,
        "plain": shares(counts["plain"][index]),
        "own": {"too many": 100 * too_many / neurons, "too few": 100 * too_few / neurons},
        "srp": {str(tau): shares(counts["srp"][row, index]) for row, tau in enumerate(taus)},
        "silenced": silenced,
    }


def _bits_seen(parts: Sequence[Arrays]) -> Arrays:
    """The correct images of all portions, and the extremes of their potentials."""
    extremes = {
        "low": np.min([each["low"] for each in parts], axis=0),
        "high": np.max([each["high"] for each in parts], axis=0),
    }
    right = [{k: v for k, v in each.items() if v.dtype == bool} for each in parts]
    return _joined(right) | extremes


def _bits_row(network: IntegerNetwork, seen: Arrays) -> dict[str, Any]:
    layers = _potentials(network, seen)
    return {
        "accuracy": {
            f"{tau},{T}": _percent(seen[f"srp_{tau}" if tau else "plain"][T - 1])
            for tau, T in BITS_STAGES
        },
        "used": max(layer["used"] for layer in layers),
        "bound": max(layer["bound"] for layer in layers),
    }


def _potentials(network: IntegerNetwork, seen: Arrays) -> list[dict[str, Any]]:
    rows = []
    for index, layer in enumerate(network.layers):
        low, high = int(seen["low"][index]), int(seen["high"][index])
        limits = bounds(network, layer, BITS_STEPS)
        bound_low, bound_high = int(limits.potential_min.min()), int(limits.potential_max.max())
        rows.append(
            {
                "name": layer.name,
                "low": low,
                "high": high,
                "used": signed_bits(low, high),
                "bound low": bound_low,
                "bound high": bound_high,
                "bound": signed_bits(bound_low, bound_high),
            }
        )
    return rows


def _joined(parts: Sequence[Arrays]) -> Arrays:
    """Arrays concatenated along their last axis, the images."""
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def _added(parts: Sequence[Arrays]) -> Arrays:
    """Counts, summed."""
    return {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}


def _percent(right: np.ndarray) -> float:
    return 100 * float(right.mean())


def _percent_rows(right: np.ndarray) -> list[float]:
    """Percentage of True in each row of bool (rows, N)."""
    return [_percent(row) for row in right]
