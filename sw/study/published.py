"""Published accuracies of QCFS and SRP, with their sources; percent."""

from dataclasses import dataclass

SRP_SOURCE = "README of hzc1208/ANN2SNN_SRP, the code of the paper"
QCFS_SOURCE = "README of ANN_SNN_QCFS, the code of the paper"


@dataclass(frozen=True)
class Published:
    """One row: ``accuracy`` by T, and ``ann``, the accuracy before conversion."""

    method: str
    dataset: str
    network: str
    tau: int
    ann: float | None
    accuracy: dict[int, float]
    source: str


PUBLISHED = (
    Published("SRP", "CIFAR-100", "VGG-16", 4, 76.28,
              {1: 71.52, 2: 74.31, 4: 75.42, 8: 76.25}, SRP_SOURCE),
    Published("SRP", "CIFAR-100", "ResNet-20", 4, 69.94,
              {1: 46.48, 2: 53.96, 4: 59.34, 8: 62.94}, SRP_SOURCE),
    Published("SRP", "ImageNet", "VGG-16", 14, 74.29,
              {1: 50.37, 2: 61.37, 4: 66.47, 8: 68.37}, SRP_SOURCE),
    Published("SRP", "ImageNet", "ResNet-34", 8, 74.32,
              {1: 57.78, 2: 64.32, 4: 66.71, 8: 67.62}, SRP_SOURCE),
    Published("QCFS", "CIFAR-10", "VGG-16", 0, None,
              {2: 90.94, 4: 94.01, 8: 95.01}, QCFS_SOURCE),
    Published("QCFS", "CIFAR-100", "VGG-16", 0, None,
              {2: 64.89, 4: 70.42, 8: 74.63}, QCFS_SOURCE),
)  # fmt: skip
