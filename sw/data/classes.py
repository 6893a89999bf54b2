"""The names of classes, in the order of their labels: of known data sets, and of networks."""

from collections.abc import Mapping
from typing import Protocol

_FASHION = "T-shirt trouser pullover dress coat sandal shirt sneaker bag boot"
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
    mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
    plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

# Names of Fashion-MNIST: shortened from its paper (Xiao et al., arXiv:1708.07747, table 2). Names
# of CIFAR: from its files batches.meta.txt and fine_label_names.txt.
CLASSES: Mapping[str, tuple[str, ...]] = {
    "digits": tuple("0123456789"),
    "mnist": tuple("0123456789"),
    "fashion": tuple(_FASHION.split()),
    "cifar10": tuple(_CIFAR10.split()),
    "cifar100": tuple(_CIFAR100.split()),
}


class Named(Protocol):
    """What is asked of a network about its classes: float and integer networks have it."""

    @property
    def classes(self) -> int: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def metadata(self) -> dict[str, str]: ...


def names_of(network: Named) -> tuple[str, ...]:
    """The names of a network's classes: its own, else those of its data set; empty if unknown."""
    if network.class_names:
        return network.class_names
    known = CLASSES.get(network.metadata.get("dataset", ""), ())
    return known if len(known) == network.classes else ()


def class_name(network: Named, label: int) -> str:
    """Name of a class of a network, else its number."""
    names = names_of(network)
    return names[label] if label < len(names) else str(label)
