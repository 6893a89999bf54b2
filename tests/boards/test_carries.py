"""Carry chains that are changed for nextpnr compute what they did."""

import copy
import random

import pytest

from residuum.boards.build.carries import NOBODY, shorten

# As yosys's arith_map makes them: S = B ^ C, the carry that of B + C.
ADD = f"{0x96AA:016b}"


def adder(width: int, carry: object, *, carry_out: bool = False) -> dict:
    """A netlist with ports a, b, sum, and bits of the carry chain in pairs."""
    bits = iter(range(2, 1000))
    a, b, total = ([next(bits) for _ in range(width)] for _ in range(3))
    enters = next(bits) if carry == "port" else carry
    cells, link = {}, enters
    for low in range(0, width, 2):
        cell = {
            "type": "CCU2C",
            "parameters": {},
            "connections": {"CIN": [link]},
            "port_directions": {"CIN": "input", "COUT": "output"},
        }
        for number in (0, 1):
            place = low + number
            used = place < width
            cell["parameters"] |= {f"INIT{number}": ADD, f"INJECT1_{number}": "NO"}
            cell["connections"] |= {
                f"A{number}": [a[place] if used else "0"],
                f"B{number}": [b[place] if used else "0"],
                f"C{number}": ["0"],
                f"D{number}": ["1"],
                f"S{number}": [total[place] if used else next(bits)],
            }
            cell["port_directions"] |= dict.fromkeys(
                [f"{port}{number}" for port in "ABCD"], "input"
            ) | {f"S{number}": "output"}
        link = next(bits)
        cell["connections"]["COUT"] = [link]
        cells[f"carry_{low}"] = cell
    ports = {"a": a, "b": b, "total": total}
    if carry == "port":
        ports["carry"] = [enters]
    if carry_out:
        ports["out"] = [link]
    return {"cells": cells, "ports": {name: {"bits": bits} for name, bits in ports.items()}}


def evaluate(module: dict, values: dict) -> dict:
    """All bits of the netlist; the cell as in yosys's model of CCU2C."""
    known: dict = {"0": 0, "1": 1, NOBODY: random.randrange(2), **values}
    left = dict(module["cells"])
    while left:
        name = next(n for n, cell in left.items() if cell["connections"]["CIN"][0] in known)
        cell = left.pop(name)
        wires, carry = cell["connections"], known[cell["connections"]["CIN"][0]]
        for number in (0, 1):
            table = int(cell["parameters"][f"INIT{number}"], 2)
            low, high = (
                sum(known[wires[f"{port}{number}"][0]] << i for i, port in enumerate(ports))
                for ports in ("AB", "ABCD")
            )
            half, whole = table >> low & 1, table >> high & 1
            if wires[f"S{number}"][0] != NOBODY:
                known[wires[f"S{number}"][0]] = whole ^ carry
            carry = (carry if whole else half) & 1
        if wires["COUT"][0] != NOBODY:
            known[wires["COUT"][0]] = carry
    return known


def entries(module: dict) -> list:
    """The carries that enter from outside a chain, which cost a cell."""
    sources = {cell["connections"]["COUT"][0] for cell in module["cells"].values()}
    carries = [cell["connections"]["CIN"][0] for cell in module["cells"].values()]
    return [carry for carry in carries if carry not in sources | {NOBODY}]


@pytest.mark.parametrize("carry", ["0", "1", "port"])
@pytest.mark.parametrize("width", range(1, 12))
def test_sums_are_the_same(width, carry):
    before = adder(width, carry)
    after = copy.deepcopy(before)
    shorten(after)
    assert len(entries(after)) == (width % 2 == 0)
    rng = random.Random(width)
    ports = {name: port["bits"] for name, port in before["ports"].items()}
    for _ in range(50):
        inputs = {bit: rng.randrange(2) for name in ("a", "b") for bit in ports[name]}
        inputs |= {bit: rng.randrange(2) for bit in ports.get("carry", [])}
        first, second = evaluate(before, inputs), evaluate(after, inputs)
        assert [first[bit] for bit in ports["total"]] == [second[bit] for bit in ports["total"]]
        number = {
            name: sum(first[bit] << i for i, bit in enumerate(ports[name]))
            for name in ("a", "b", "total")
        }
        more = inputs[ports["carry"][0]] if carry == "port" else int(carry)
        assert number["total"] == (number["a"] + number["b"] + more) % (1 << width)


@pytest.mark.parametrize("width", [3, 4])
def test_a_carry_that_is_read_stays(width):
    before = adder(width, "0", carry_out=True)
    after = copy.deepcopy(before)
    shorten(after)
    assert after == before


def test_a_carry_that_nobody_reads_is_disconnected():
    module = adder(4, "0")
    shorten(module)
    assert [cell["connections"]["COUT"] == [NOBODY] for cell in module["cells"].values()] == [
        False,
        True,
    ]
