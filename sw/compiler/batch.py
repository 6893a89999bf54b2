"""Several images at a time, so that weights from an external memory are read once for all of them.

The first layers, whose maps are large and whose weights are few, run image by image; the maps that
they leave are kept for all images. The others are *joint*: they run once, over the maps of all
images, each of which is a stack of lines.
"""

from dataclasses import dataclass

from residuum.sw.network.graph import INPUT, last_readers
from residuum.sw.network.integer_network import IntegerNetwork


@dataclass(frozen=True)
class Turn:
    """A layer on an engine: its number in the network, and the images that it runs for."""

    layer: int
    images: range


@dataclass(frozen=True)
class Batch:
    """``images`` at a time, 1 or more; layers from ``joint`` on run for all of them at once."""

    images: int = 1
    joint: int = 0

    def turns(self, layers: int) -> tuple[Turn, ...]:
        """The layers of a network in the order in which an engine runs them."""
        numbers = range(self.images)
        return (
            *(Turn(layer, range(n, n + 1)) for n in numbers for layer in range(self.joint)),
            *(Turn(layer, numbers) for layer in range(self.joint, layers)),
        )

    def runs(self, layers: int) -> tuple[range, ...]:
        """The turns that run without a pause once an image is in the engine, for each image; those
        of the last one go on with the joint layers."""
        whole = self.images * self.joint + layers - self.joint
        ends = [image * self.joint for image in range(1, self.images)]
        return tuple(map(range, (0, *ends), (*ends, whole)))


SINGLE = Batch()


def first_joint_layers(network: IntegerNetwork) -> range:
    """The layers from which on the others may be joint: behind all that read the input."""
    return range(last_readers(network.layers)[INPUT] + 1, len(network.layers))
