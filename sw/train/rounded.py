"""Fine-tuning of an imported network with rounded weights and activations.

Forward passes compute what the integers of radix code compute, up to the rounding of thresholds
and biases; gradients go straight through the roundings. The float network is the teacher: its
probabilities are mixed with the labels, so that few epochs do.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from residuum.sw.convert.quantize import quantize_weights
from residuum.sw.errors import ResiduumError
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import forward
from residuum.sw.network.graph import INPUT, Source
from residuum.sw.network.integer_network import LARGEST_PIXEL
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.threads import no_spinning_threads
from residuum.sw.train.augment import CropAndFlip
from residuum.sw.train.checkpoint import (
    REMEDY,
    made_by_earlier_version,
    read_checkpoint,
    write_checkpoint,
)
from residuum.sw.train.fine_tuning import SCALES_EVERY, FoldedModule
from residuum.sw.train.training import RunningMean, cosine

LEARNING_RATE = 5e-4
BATCH = 128
# Largest shift of augmented pictures, as a share of their height.
_SHIFT = 1 / 8


class RoundedModule(FoldedModule):
    """A float network with ranges, as a module that rounds as radix code with K bits does.

    Attributes
    ----------
    levels
        2**K - 1, the levels of the activations above zero.
    """

    def __init__(self, network: FloatNetwork, *, weight_bits: int, map_bits: int) -> None:
        self.levels = 2**map_bits - 1
        super().__init__(replace(network, levels=self.levels), bits=weight_bits)

    def _worth(self, source: Source) -> float:
        if source.map == INPUT:
            return 1 / LARGEST_PIXEL / source.pool_area
        threshold: float = self.thresholds[source.map].item()
        return threshold / self.levels / source.pool_area

    def export(self) -> FloatNetwork:
        """The network with weights that are whole multiples of their steps, so that conversion
        finds the same integers."""
        self.update_scales()
        network = super().export()
        return replace(
            network,
            layers=tuple(self._on_grid(index, layer) for index, layer in enumerate(network.layers)),
        )

    def _on_grid(self, index: int, layer: FloatLayer) -> FloatLayer:
        assert self.bits is not None
        sources = []
        for number, source in enumerate(layer.sources):
            if number != self.exact[index]:
                weight = torch.from_numpy(source.weight)
                step = self.steps[index][number].double()
                integers = quantize_weights(weight, step, self.bits)
                source = replace(source, weight=(integers * step[:, None, None, None]).numpy())
            sources.append(source)
        return replace(layer, sources=tuple(sources))


def fine_tune_rounded(
    network: FloatNetwork,
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    epochs: int,
    weight_bits: int,
    map_bits: int,
    checkpoint: Path,
    start: FloatNetwork | None = None,
    seed: int = 0,
    augment: bool = False,
    learning_rate: float = LEARNING_RATE,
    reporter: Reporter = SILENT,
) -> FloatNetwork:
    """Train on with rounded weights and activations, and return the rounded network.

    Parameters
    ----------
    network
        Every hidden layer has a finite threshold (`calibrate`).
    images, labels
        uint8 (N, C, H, W), and int64 (N,); without labels the float network alone teaches.
    epochs
        At least 1; every epoch rewrites the checkpoint, from which another call goes on.
    weight_bits, map_bits
        Bits of the weights, and K of the maps.
    start
        Weights to start from, such as compensated ones (`Conversion.rounded`); None: those of the
        network.
    augment
        Shift the pictures at random and mirror them: for photographs.

    Returns
    -------
    FloatNetwork
        With activations of 2**K - 1 levels, and weights that `convert` turns into the integers of
        the training.

    Raises
    ------
    ResiduumError
        If a range is not known, or the checkpoint is damaged or of other settings.
    """
    _check(network)
    torch.manual_seed(seed)
    start = start or network
    module = RoundedModule(start, weight_bits=weight_bits, map_bits=map_bits)
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=0.0)
    batches = -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: cosine(step, steps=epochs * batches)
    )
    settings = repr(
        (
            _digest(network), _digest(start), len(images), labels is None, epochs, weight_bits,
            map_bits, seed, augment, learning_rate,
        )
    )  # fmt: skip
    parts: dict[str, Any] = {"module": module, "optimizer": optimizer, "schedule": schedule}
    done = _resumed(checkpoint, settings, parts)
    left = (epochs - done) * batches
    name = f"fine-tune {network.name} for {weight_bits} bits"
    with no_spinning_threads(), reporter.task(name, total=left, unit="batches") as task:
        for epoch in range(done, epochs):
            mean = RunningMean()
            for number, (x, y) in enumerate(_batches(images, labels, seed, epoch, augment)):
                if number % SCALES_EVERY == 0:
                    module.update_scales()
                loss = _loss(module, network, x, y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                mean.add(loss.detach())
                task.update(detail=f"epoch {epoch + 1} loss {mean.value:.4f}")
                task.advance()
            state = {key: part.state_dict() for key, part in parts.items()}
            write_checkpoint(checkpoint, {"settings": settings, "epochs": epoch + 1, **state})
            reporter.say(f"epoch {epoch + 1} of {epochs}, loss {mean.value:.4f}")
        return module.export()


def _check(network: FloatNetwork) -> None:
    for layer in network.layers:
        if layer.threshold == float("inf"):
            raise ResiduumError(
                f"layer {layer.name!r} is a ReLU whose range is not known; calibrate the network "
                "on images first"
            )


def _loss(module: RoundedModule, teacher: FloatNetwork, x: Tensor, y: Tensor | None) -> Tensor:
    """Cross-entropy with the probabilities of the teacher, and with the labels, half and half."""
    with torch.no_grad():
        wanted = forward(teacher, x).softmax(dim=1)
    logits = module(x)
    taught = F.cross_entropy(logits, wanted)
    return taught if y is None else (taught + F.cross_entropy(logits, y)) / 2


def _batches(
    images: np.ndarray, labels: np.ndarray | None, seed: int, epoch: int, augment: bool
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Pictures, float (N, C, H, W) of u/255, in the random order of this epoch."""
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    crop = CropAndFlip(max_shift=max(1, round(_SHIFT * images.shape[2])))
    for chosen in torch.randperm(len(images), generator=generator).split(BATCH):
        x = torch.from_numpy(images[chosen.numpy()])
        if augment:
            x = crop(x, generator)
        y = None if labels is None else torch.from_numpy(labels[chosen.numpy()]).long()
        yield x.float() / LARGEST_PIXEL, y


def _digest(network: FloatNetwork) -> str:
    """Distinguishes the networks that a checkpoint may belong to."""
    digest = hashlib.sha256(repr([layer.threshold for layer in network.layers]).encode())
    for layer in network.layers:
        for source in layer.sources:
            digest.update(source.weight.tobytes())
    return digest.hexdigest()


def _resumed(path: Path, settings: str, parts: dict[str, Any]) -> int:
    """Load the checkpoint, if there is one, and return the number of finished epochs."""
    if not path.exists():
        return 0
    state = read_checkpoint(path)
    if state.get("settings") != settings:
        raise ResiduumError(f"{path} was made with other settings; {REMEDY}")
    try:
        for key, part in parts.items():
            part.load_state_dict(state[key])
    except (KeyError, RuntimeError, ValueError):
        raise made_by_earlier_version(path) from None
    return int(state["epochs"])
