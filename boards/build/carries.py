"""Carry chains in a netlist of yosys, as nextpnr packs them best.

A CCU2C has two bits of a carry chain. nextpnr gives a chain one more cell, two LUT sites, for the
carry that enters it, even a constant, and one for each carry that leaves it, even if nobody reads
it. Yosys fills chains of an odd number of bits up with a bit that nobody reads: that is the place
for the carry which enters.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

Cell = dict[str, Any]
Half = dict[str, Any]

# What a half of the cell has, with the number of the half at the end of the name.
_PARAMETERS = ("INIT", "INJECT1_")
_PORTS = ("A", "B", "C", "D", "S")
# The function of four inputs is 0, so the carry is the function of A and B: a constant, or A
# (`CCU2C` in the cell library of yosys).
_ENTRY = {"0": 0x0000, "1": 0x000F}
_ENTRY_OF_A = 0x000A
NOBODY = "x"


def shorten(module: dict[str, Any]) -> None:
    """Changes the carry chains of a module, as yosys writes it in JSON: disconnects carries that
    nobody reads, and lets a carry enter a chain in its own first cell where it has room."""
    cells: dict[str, Cell] = module.get("cells", {})
    read = _bits_read(module)
    carries = [cell for cell in cells.values() if cell["type"] == "CCU2C"]
    for cell in carries:
        if cell["connections"]["COUT"][0] not in read:
            cell["connections"]["COUT"] = [NOBODY]
    for chain in _chains(carries, read):
        halves = [_half(cell, number) for cell in chain for number in (0, 1)]
        last = chain[-1]["connections"]
        if last["COUT"] == [NOBODY] and last["S1"][0] not in read:
            first = chain[0]["connections"]
            _place(chain, [_entry(first["CIN"][0]), *halves[:-1]])
            first["CIN"] = [NOBODY]


def _bits_read(module: dict[str, Any]) -> Counter[Any]:
    """How often each bit is read by a cell or a port."""
    read: Counter[Any] = Counter()
    for port in module.get("ports", {}).values():
        read.update(port["bits"])
    for cell in module.get("cells", {}).values():
        directions = cell.get("port_directions", {})
        for port, bits in cell["connections"].items():
            if directions.get(port) != "output":
                read.update(bits)
    return read


def _chains(carries: list[Cell], read: Counter[Any]) -> Iterator[list[Cell]]:
    """Chains whose carries nobody reads but the next cell."""
    sources = {cell["connections"]["COUT"][0] for cell in carries} - {NOBODY}
    following = {cell["connections"]["CIN"][0]: cell for cell in carries}
    for cell in carries:
        if cell["connections"]["CIN"][0] in sources:
            continue
        chain = [cell]
        while (carry := chain[-1]["connections"]["COUT"][0]) in following and read[carry] == 1:
            chain.append(following[carry])
        yield chain


def _half(cell: Cell, number: int) -> Half:
    return {
        **{name: cell["parameters"][f"{name}{number}"] for name in _PARAMETERS},
        **{name: cell["connections"][f"{name}{number}"] for name in _PORTS},
    }


def _entry(carry: Any) -> Half:
    """The half that makes a carry from a constant or a bit."""
    of_a = carry not in _ENTRY
    return {
        "INIT": f"{_ENTRY_OF_A if of_a else _ENTRY[carry]:016b}",
        "INJECT1_": "NO",
        "A": [carry if of_a else "1"],
        **{name: ["1"] for name in ("B", "C", "D")},
        "S": [NOBODY],
    }


def _place(chain: list[Cell], halves: list[Half]) -> None:
    for index, half in enumerate(halves):
        cell, number = chain[index // 2], index % 2
        for name in _PARAMETERS:
            cell["parameters"][f"{name}{number}"] = half[name]
        for name in _PORTS:
            cell["connections"][f"{name}{number}"] = half[name]
