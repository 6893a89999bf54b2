"""Several images at a time, so that weights from an external memory are read once for all of them.

The first layers, whose maps are large and whose weights are few, run image by image; the maps that
they leave are kept for all images. The others are *joint*: they run once, over the maps of all
images, each of which is a stack of lines. The output layer runs image by image again.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """A layer on an engine: its number in the network, and the images that it runs for."""

    layer: int
    images: range


@dataclass(frozen=True)
class Run:
    """Turns ``first`` to ``last``, without a pause.

    ``image`` is put into the engine before; ``result`` is the image whose class and logits are
    there afterwards; None: no image.
    """

    first: int
    last: int
    image: int | None
    result: int | None


@dataclass(frozen=True)
class Batch:
    """``images`` at a time, 1 or more; layers from ``joint`` on, but for the last one, run for all
    of them at once."""

    images: int = 1
    joint: int = 1

    def turns(self, layers: int) -> tuple[Turn, ...]:
        """The layers of a network in the order in which an engine runs them."""
        numbers = range(self.images)
        last = layers - 1
        alone = last if self.images == 1 else self.joint
        return (
            *(Turn(layer, range(n, n + 1)) for n in numbers for layer in range(alone)),
            *(Turn(layer, numbers) for layer in range(alone, last)),
            *(Turn(last, range(n, n + 1)) for n in numbers),
        )

    def runs(self, layers: int) -> tuple[Run, ...]:
        """The runs of `turns`: one for each image, which is put in before, and one for each further
        result."""
        if self.images == 1:
            return (Run(0, layers - 1, 0, 0),)
        joint, final = self.joint, self.images - 1
        first_result = self.images * joint + layers - 1 - joint
        return (
            *(Run(n * joint, (n + 1) * joint - 1, n, None) for n in range(final)),
            Run(final * joint, first_result, final, 0),
            *(Run(first_result + n, first_result + n, None, n) for n in range(1, self.images)),
        )


SINGLE = Batch()
