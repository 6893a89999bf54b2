"""The committed networks (sw/zoo), and the search for a network by name or path."""

from pathlib import Path

from residuum.sw.errors import ResiduumError
from residuum.sw.network.integer_network import IntegerNetwork

ZOO = Path(__file__).parents[1] / "zoo"
DEFAULT_BITS = 8
# Metadata: the file name of the float network, where it is not NAME-float.npz.
FLOAT_NETWORK = "float network"


def zoo_file(model: str, bits: int, folder: Path = ZOO) -> Path:
    """Path of the network ``model`` with ``bits``-bit weights."""
    return folder / f"{model}-{bits}bit.npz"


def float_file(model: str, folder: Path = ZOO) -> Path:
    """Path of the float network: NAME-float.npz in the folder of the integer network.

    ``model`` is a name, or the path of an integer network.
    """
    if not is_path(model):
        return folder / f"{model}-float.npz"
    path = Path(model)
    name, dash, bits = path.stem.rpartition("-")
    stem = name if dash and bits.endswith("bit") and bits[:-3].isdecimal() else path.stem
    return path.with_name(f"{stem}-float.npz")


def float_file_of(network: IntegerNetwork, model: str) -> Path:
    """Path of the float network that ``network``, which the user calls ``model``, was made from: in
    the folder of the integer network, the file that its metadata name, else NAME-float.npz."""
    own = float_file(model)
    return own.with_name(Path(network.metadata.get(FLOAT_NETWORK, own)).name)


def zoo_names() -> dict[str, list[int]]:
    """Names of the committed networks, each with its available weight bits."""
    names: dict[str, list[int]] = {}
    for path in sorted(ZOO.glob("*-*bit.npz")):
        model, _, bits = path.name.removesuffix("bit.npz").rpartition("-")
        if bits.isdecimal():
            names.setdefault(model, []).append(int(bits))
    return {model: sorted(bits) for model, bits in names.items()}


def widest_bits(model: str, most: int) -> int:
    """The most weight bits, up to ``most``, of a committed network; ``most`` if there are none."""
    return max((bits for bits in zoo_names().get(model, ()) if bits <= most), default=most)


def is_path(model: str) -> bool:
    """Whether ``model`` is a path: it ends in .npz or contains a slash or backslash."""
    return model.endswith(".npz") or "/" in model or "\\" in model


def network_name(model: str, bits: int | None = None) -> str:
    """Name of a network in file names and reports: its file name without folder and suffix, such as
    ``digits-8bit``."""
    return network_file(model, bits).stem


def network_file(model: str, bits: int | None = None) -> Path:
    """The file that `load_network` reads."""
    return Path(model) if is_path(model) else zoo_file(model, bits or DEFAULT_BITS)


def load_network(model: str, bits: int | None = None) -> IntegerNetwork:
    """The committed network called ``model``, or the network in the file ``model``.

    Parameters
    ----------
    bits
        Weight bits of the committed network; None means 8. For a file, None accepts any number of
        bits, and another value must agree with the file.

    Raises
    ------
    ResiduumError
        If the file cannot be read, or the network is unknown; then lists the known ones.
    """
    if is_path(model):
        network = IntegerNetwork.load(model)
        if bits not in (None, network.weight_bits):
            raise ResiduumError(
                f"{model} has {network.weight_bits}-bit weights, not {bits}-bit; leave --bits out"
            )
        return network
    names = zoo_names()
    if model not in names:
        known = ", ".join(names) or "none"
        raise ResiduumError(
            f"there is no network {model!r}; the known ones are {known} (or give a .npz file)"
        )
    wanted = DEFAULT_BITS if bits is None else bits
    if wanted not in names[model]:
        known = " and ".join(map(str, names[model]))
        raise ResiduumError(f"there is no {wanted}-bit {model}; there are {known} bits")
    return IntegerNetwork.load(zoo_file(model, wanted))
