"""All measurements of a study in one report of plain values, the source of page and plots."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.convert.to_integer import SPIKE_FRACTION_BITS, FractionBits, to_integer
from residuum.sw.errors import ResiduumError
from residuum.sw.files import digest_of_file
from residuum.sw.network.bounds import bounds, signed_bits
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.network.library import float_file, zoo_file
from residuum.sw.study.measure import CASES, right_ann, right_images, right_with_reset, unevenness
from residuum.sw.study.simulator import Reset
from residuum.sw.study.store import Arrays, kept
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
# Images per portion; each finished portion is stored.
PORTION = 250


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
    digests
        SHA-256 of the three files, by "eight", "four", "float".
    """

    name: str
    dataset: str
    eight: IntegerNetwork
    four: IntegerNetwork | None
    source: FloatNetwork
    digests: Mapping[str, str]


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
    digests = {part: digest_of_file(path) for part, path in files.items() if path.exists()}
    return Subject(name, eight.metadata["dataset"], eight, four, source, digests)


@dataclass(frozen=True)
class Images:
    """Held-out images, uint8 (N, C, H, W), and labels, int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def portions(self) -> list[tuple[int, int]]:
        """First image and number of images of each portion."""
        total = len(self.labels)
        return [(first, min(PORTION, total - first)) for first in range(0, total, PORTION)]


Measure = Callable[[np.ndarray, np.ndarray], Arrays]


class Study:
    """Measures one model, portion by portion, and stores finished portions.

    Parameters
    ----------
    subject, data
        The model and the images.
    folder
        Folder for finished portions.
    advance
        Called with steps * images after every finished portion; ``work`` is the total.
    """

    def __init__(
        self, subject: Subject, data: Images, folder: Path, advance: Callable[[int], None]
    ) -> None:
        self.subject = subject
        self.data = data
        self.folder = folder
        self.advance = advance

    @staticmethod
    def work(images: int, *, four: bool) -> int:
        """Steps * images of a whole study."""
        conversions = len(WEIGHT_BITS) + len(FRACTION_BITS) - 1 + four
        unevenness_steps = max(UNEVENNESS_TAUS) + len(UNEVENNESS_TAUS) * UNEVENNESS_T
        sweep = PLAIN_STEPS + len(TAUS) * LONGEST_T
        resets = len(RESETS) * LONGEST_T
        per_image = sweep + resets + LONGEST_T + unevenness_steps + conversions * _BITS_WORK
        return images * per_image

    def run(self) -> dict[str, Any]:
        """The report of this model, in plain JSON values."""
        sweep = self._sweep()
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

    def _measure(
        self, part: str, network: str, steps: int, measure: Measure, **settings: object
    ) -> list[Arrays]:
        results = []
        for first, count in self.data.portions():
            place = slice(first, first + count)
            images, labels = self.data.images[place], self.data.labels[place]
            key = {
                "part": part,
                "network": self.subject.digests[network],
                "dataset": self.subject.dataset,
                "first": first,
                "count": count,
                **settings,
            }
            results.append(kept(self.folder, key, partial(measure, images, labels)))
            self.advance(steps * count)
        return results

    def _sweep(self) -> Arrays:
        stages = dict.fromkeys(TAUS, LONGEST_T)
        network = self.subject.eight

        def measure(images: np.ndarray, labels: np.ndarray) -> Arrays:
            return right_images(network, images, labels, plain_steps=PLAIN_STEPS, stages=stages)

        steps = PLAIN_STEPS + len(TAUS) * LONGEST_T
        stated = {"taus": list(TAUS), "T": LONGEST_T, "plain": PLAIN_STEPS}
        return _joined(self._measure("sweep", "eight", steps, measure, **stated))

    def _ann(self) -> dict[str, Any]:
        network, levels = self.subject.eight, list(range(1, LONGEST_T + 1))

        def rounded(images: np.ndarray, labels: np.ndarray) -> Arrays:
            return right_ann(network, images, labels, levels=levels)

        right = _joined(self._measure("ann", "eight", LONGEST_T, rounded, levels=levels))["right"]

        def unrounded(images: np.ndarray, labels: np.ndarray) -> Arrays:
            share = float_accuracy(self.subject.source, images, labels)
            return {"right": np.array(round(share * len(labels)))}

        float_right = _added(self._measure("float", "float", 0, unrounded))["right"]
        return {
            "float": 100 * int(float_right) / len(self.data.labels),
            "rounded": _percent_rows(right),
        }

    def _resets(self, subtraction: np.ndarray) -> dict[str, list[float]]:
        network = self.subject.eight

        def measure(images: np.ndarray, labels: np.ndarray) -> Arrays:
            return right_with_reset(network, images, labels, steps=LONGEST_T, resets=RESETS)

        steps = len(RESETS) * LONGEST_T
        stated = {"resets": list(RESETS), "T": LONGEST_T}
        right = _joined(self._measure("reset", "eight", steps, measure, **stated))
        return {
            "subtraction": _percent_rows(subtraction[:LONGEST_T]),
            **{reset: _percent_rows(right[reset]) for reset in RESETS},
        }

    def _unevenness(self) -> dict[str, Any]:
        network, T, taus = self.subject.eight, UNEVENNESS_T, UNEVENNESS_TAUS

        def measure(images: np.ndarray, labels: np.ndarray) -> Arrays:
            return unevenness(network, images, T=T, taus=taus)

        steps = max(taus) + len(taus) * T
        counts = _added(self._measure("unevenness", "eight", steps, measure, T=T, taus=list(taus)))
        layers = [
            _unevenness_layer(layer.name, counts, index, taus, len(self.data.labels))
            for index, layer in enumerate(network.layers[:-1])
        ]
        return {"T": T, "taus": list(taus), "layers": layers}

    def _bits(self) -> dict[str, Any]:
        weight, fraction = [], []
        potentials: list[dict[str, Any]] = []
        for bits in WEIGHT_BITS:
            network, seen = self._converted(bits, SPIKE_FRACTION_BITS)
            row = _bits_row(network, seen)
            weight.append({"bits": bits, "fine_tuned": False, **row})
            if bits == STANDARD_BITS:
                potentials = _potentials(network, seen)
                standard = row
        if self.subject.four is not None:
            network = self.subject.four
            row = _bits_row(network, self._bits_measured(network, "four"))
            weight.append({"bits": network.weight_bits, "fine_tuned": True, **row})
        for bits in FRACTION_BITS:
            if bits != SPIKE_FRACTION_BITS:
                network, seen = self._converted(STANDARD_BITS, bits)
                fraction.append({"bits": bits, **_bits_row(network, seen)})
            else:
                fraction.append({"bits": bits, **standard})
        return {"weight": weight, "fraction": fraction, "potentials": potentials}

    def _converted(self, bits: int, fraction: int) -> tuple[IntegerNetwork, Arrays]:
        network = to_integer(
            self.subject.source, bits=bits, fraction_bits=FractionBits(spikes=fraction)
        )
        return network, self._bits_measured(network, "float", bits=bits, fraction=fraction)

    def _bits_measured(self, network: IntegerNetwork, part: str, **settings: object) -> Arrays:
        stages = {tau: T for tau, T in BITS_STAGES if tau > 0}

        def measure(images: np.ndarray, labels: np.ndarray) -> Arrays:
            return right_images(
                network, images, labels, plain_steps=BITS_STEPS, stages=stages, record=True
            )

        stated = {"stages": [list(stage) for stage in BITS_STAGES], **settings}
        parts = self._measure("bits", part, _BITS_WORK, measure, **stated)
        extremes = {
            "low": np.min([each["low"] for each in parts], axis=0),
            "high": np.max([each["high"] for each in parts], axis=0),
        }
        return _joined([{k: v for k, v in each.items() if v.dtype == bool} for each in parts]) | (
            extremes
        )


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
