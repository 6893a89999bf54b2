"""Published models, and one row of the table of ``make imports``: one piece of work.

The models lie in ../shared/models, or in the folder that ``RESIDUUM_MODELS`` names; they are not
part of the project. Every row is the command ``residuum import`` with the options that it shows, in
exact integers. The goals are what an independent reference reaches.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from residuum.hw.isa.host_map import Counter
from residuum.sim.bench.compared import Totals, on_engine
from residuum.sim.bench.measure import engine_for
from residuum.sw.data.data_sets import Access
from residuum.sw.data.images import Images, load_images
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, digest_of_file
from residuum.sw.frontend.models import open_model
from residuum.sw.golden.accuracy import evaluate
from residuum.sw.importing.pipeline import Options, to_integers
from residuum.sw.network.corrections import NONE
from residuum.sw.network.graph import Preprocessing
from residuum.sw.network.integer_network import RATE, IntegerNetwork
from residuum.sw.progress import reporter_here
from tests.sw.frontend.modules import ResNet

ROOT = Path(__file__).resolve().parents[1]
CALIBRATION = 512
# Steps of the spiking network.
STEPS = 16


def cifar10_resnet20() -> nn.Module:
    return ResNet(3, 10, shortcut="skip")


def cifar10_resnet56() -> nn.Module:
    return ResNet(9, 10, shortcut="skip")


def cifar100_resnet20() -> nn.Module:
    return ResNet(3, 100, option="B", shortcut="downsample", head="fc")


CIFAR10 = Preprocessing(
    channels="RGB", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), scale=1 / 255
)
CIFAR100 = Preprocessing(
    channels="RGB", mean=(0.5070, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2761), scale=1 / 255
)


@dataclass(frozen=True)
class Model:
    """A model, its published accuracy in percent, and the (options, goal in percent) to import it
    with."""

    name: str
    published: float
    make: Callable[[], nn.Module] | None
    file: str
    data: str
    preprocessing: Preprocessing
    rows: tuple[tuple[Options, float], ...]

    @property
    def path(self) -> Path:
        """The file of the model; ``ResiduumError`` if its folder is missing."""
        folder = Path(os.environ.get("RESIDUUM_MODELS", ROOT.parent / "shared" / "models"))
        if not folder.is_dir():
            raise ResiduumError(
                f"the models of others are not in {folder}; name their folder in RESIDUUM_MODELS"
            )
        return folder / self.file


def _radix(bits: int, K: int = 6, potential_bits: int = 24, **more: int) -> Options:
    return Options(bits=bits, map_bits=K, potential_bits=potential_bits, **more)  # type: ignore[arg-type]


MODELS = (
    Model(
        "ResNet-20, CIFAR-10",
        91.73,
        cifar10_resnet20,
        "resnet20-12fca82f.th",
        "cifar10",
        CIFAR10,
        (
            (_radix(8), 91.5),
            (_radix(6), 91.5),
            (_radix(5), 91.4),
            (_radix(4), 91.2),
            (_radix(3), 90.2),
            (_radix(4, 4), 89.9),
            (_radix(4, fine_tune=1, augment=True), 91.5),
        ),
    ),
    Model(
        "ResNet-56, CIFAR-10",
        93.39,
        cifar10_resnet56,
        "resnet56-4bfd9763.th",
        "cifar10",
        CIFAR10,
        ((_radix(8), 93.1), (_radix(4), 92.9)),
    ),
    Model(
        "ResNet-20, CIFAR-100",
        68.83,
        cifar100_resnet20,
        "cifar100_resnet20.pth",
        "cifar100",
        CIFAR100,
        ((_radix(8, 8, 25), 68.2), (_radix(5, 8, 25), 67.4), (_radix(4, 8, 25), 64.5)),
    ),
    Model(
        "CNN, MNIST",
        98.91,
        None,
        "mnist-12.onnx",
        "mnist",
        Preprocessing(channels="grey", scale=1.0),
        ((_radix(8), 98.7),),
    ),
)


def row(
    name: str, options: Options, goal: float, images: int | None, digest: str
) -> dict[str, Any]:
    """A record of the table: the model of this name, imported with these options.

    ``digest`` is the SHA-256 of the model's file. The data sets are the published ones.
    """
    access = Access(False, reporter_here())
    network, held_out = _imported(name, options, images, digest, access)
    tally = evaluate(
        network,
        held_out.images,
        held_out.need_labels("the table"),
        tau=0,
        T=1,
        reporter=access.reporter,
    )
    return {
        "model": name,
        "float": _model(name).published,
        "bits": options.bits,
        "K": options.map_bits,
        "potential bits": options.potential_bits,
        "fine-tuned": options.fine_tune,
        "images": tally.images,
        "integers": round(tally.accuracy, 2),
        "goal": goal,
    }


def _model(name: str) -> Model:
    return next(model for model in MODELS if model.name == name)


def _imported(
    name: str, options: Options, images: int | None, digest: str, access: Access
) -> tuple[IntegerNetwork, Images]:
    """The model of this name in integers, and its held-out images."""
    model = _model(name)
    path = _checked(model.path, digest)
    source = str(path) if model.make is None else f"tests.import_rows:{model.make.__name__}"
    given = open_model(source, weights=None if model.make is None else path)
    held_out = load_images(model.data, split="held-out", at_most=images, access=access)
    imported = to_integers(
        given.network(input_shape=held_out.images.shape[1:], preprocessing=model.preprocessing),
        options,
        calibration=load_images(
            model.data, split="training", at_most=CALIBRATION, access=access
        ).images,
        training=load_images(model.data, split="training", access=access),
        checkpoint=build_folder() / "imports" / f"{path.stem}-{options.bits}bit.pt",
        reporter=access.reporter,
    )
    return imported.conversion.network, held_out


def _checked(path: Path, digest: str) -> Path:
    if digest_of_file(path) != digest:
        raise ResiduumError(f"{path} is another file on this machine")
    return path


# Weight rows of an engine with an SDRAM, whose networks run fewer images.
RING_ROWS = 1024
SDRAM_IMAGES = 5
# Models on the simulated engine: options, lanes, and whether the weights come from an SDRAM.
ON_ENGINE: tuple[tuple[str, Options, int, bool], ...] = (
    *(("ResNet-20, CIFAR-10", _radix(bits), 64, False) for bits in (8, 6, 5, 4)),
    *(("ResNet-20, CIFAR-100", _radix(bits, 8, 25), 64, False) for bits in (8, 6, 5, 4)),
    ("CNN, MNIST", _radix(8), 16, False),
    *(("ResNet-56, CIFAR-10", _radix(bits), 64, True) for bits in (8, 6, 4)),
)


def engine_row(
    name: str, options: Options, lanes: int, sdram: bool, images: int, digest: str
) -> dict[str, Any]:
    """A record of ``make imports RTL=1``: some images on the engine, compared with the golden model
    value by value and with the cycle model."""
    access = Access(False, reporter_here())
    at_most = min(images, SDRAM_IMAGES) if sdram else images
    network, held_out = _imported(name, options, at_most, digest, access)
    labels = held_out.need_labels("the table")
    ring_rows = RING_ROWS if sdram else None
    return _on_engine(
        name, network, held_out.images, labels, lanes=lanes, steps=8, ring_rows=ring_rows
    )


def spiking_row(path: str, images: int, digest: str) -> dict[str, Any]:
    """The same for a spiking network in NIR, on random spike trains of `STEPS` steps."""
    given = open_model(str(_checked(Path(path), digest)), reset="subtract")
    assert given.input_shape is not None
    options = Options(code=RATE, tau=0, T=STEPS)
    network = to_integers(
        given.network(input_shape=given.input_shape), options, calibration=None
    ).conversion.network
    shape = (images, STEPS, *network.input_shape)
    trains = np.random.default_rng(1).random(shape) < 0.3
    labels = np.zeros(images, np.int64)
    return _on_engine(Path(path).stem, network, trains, labels, lanes=16, steps=STEPS, T=STEPS)


def page_row(images: int) -> dict[str, Any]:
    """The same for the residual network of docs/own-model.md, trained as the page says."""
    text = (ROOT / "docs" / "own-model.md").read_text()
    files = dict(re.findall(r"^```python file=(\S+)\n(.*?)^```", text, re.M | re.S))
    access = Access(False, reporter_here())
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_text(content)
        subprocess.run([sys.executable, "train.py"], cwd=folder, check=True)
        given = open_model(f"{folder}/mynet.py:make", weights=Path(folder) / "mynet.pt")
        training = load_images("digits", split="training", at_most=CALIBRATION, access=access)
        held_out = load_images("digits", split="held-out", at_most=images, access=access)
        network = given.network(input_shape=held_out.images.shape[1:])
    imported = to_integers(network, _radix(4), calibration=training.images)
    labels = held_out.need_labels("the table")
    name = "docs/own-model.md"
    return _on_engine(name, imported.conversion.network, held_out.images, labels, lanes=16, steps=8)


def _on_engine(
    name: str,
    network: IntegerNetwork,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    lanes: int,
    steps: int,
    T: int = 1,
    ring_rows: int | None = None,
) -> dict[str, Any]:
    config = engine_for(network, lanes, steps=steps, ring_rows=ring_rows)
    found = Totals.from_json(on_engine(network, config, 0, T, NONE, inputs, labels, 0))
    cycles = found.counters[:, Counter.CYCLES].sum() / found.images
    return {
        "model": name,
        "bits": network.weight_bits,
        "lanes": lanes,
        "SDRAM": "yes" if config.external else "no",
        "images": found.images,
        "mismatches": found.mismatches,
        "cycles": f"{cycles:,.0f}",
        "cycle model off": f"{100 * found.worst_cycles:.2f} %",
        "first": found.first,
    }
