"""Operators and places of mutants on small sources."""

import ast
import re

import pytest

from tests.sim.mutants_syntax import (
    Exchange,
    MutationError,
    Node,
    Operand,
    Place,
    Whole,
    drop,
    mutate,
    mutate_all,
    read_room,
)

X = Place("room", "x")


def changed(text: str, operator, place: Place = X) -> str:
    """The text after the change, in the format of `ast.unparse`."""
    return mutate({"room/a.py": text}, place, operator)[1]


@pytest.mark.parametrize(
    ("before", "operator", "after"),
    [
        ("x.eq(a + 1)", Whole("0"), "x.eq(0)"),
        ("x.eq(a + 1)", Whole("x"), "x.eq(x)"),
        ("x.eq(a | b)", Whole("_ & c"), "x.eq((a | b) & c)"),
        ("x.eq(a & b)", drop("&", "a"), "x.eq(b)"),
        ("x.eq(a & ~b[2] & c)", drop("&", "b"), "x.eq(a & c)"),
        ("x.eq(a & ~(b & c))", drop("&", "b", "c"), "x.eq(a)"),
        ("x.eq(a & ~(b & c))", drop("&", "c", "b"), "x.eq(a)"),
        ("x.eq(a | b & c)", drop("|", "b"), "x.eq(a)"),
        ("x.eq(a - b + 1)", drop("+", "1"), "x.eq(a - b)"),
        ("x.eq((a << b) + c)", drop("<<", "b"), "x.eq(a + c)"),
        ("x.eq(a >> 1)", drop(">>", "1"), "x.eq(a)"),
        ("x.eq(total(a, b, c=d))", drop("total", "b"), "x.eq(total(a, c=d))"),
        ("x.eq(total(a, b, c=d))", drop("total", "d"), "x.eq(total(a, b))"),
        ("x.eq(a >> 1)", Operand(">>", ("a",), "_ + 1"), "x.eq(a + 1 >> 1)"),
        ("x.eq(Mux(a, b, c))", Operand("Mux", ("a",), "~_"), "x.eq(Mux(~a, b, c))"),
        ("x.eq(f(y=~a))", Operand("f", ("a",), "0"), "x.eq(f(y=0))"),
        ("x.eq(Mux(a, b, c))", Node("Mux", ("b",), "_2"), "x.eq(c)"),
        ("x.eq(hw.Mux(a, b, c))", Node("Mux", (), "_1"), "x.eq(b)"),
        ("x.eq((a == b) & c)", Node("==", ("a",), "_0 != _1"), "x.eq((a != b) & c)"),
        ("x.eq(a <= 3)", Node("<=", ("3",), "_1 <= _0"), "x.eq(3 <= a)"),
        ("x.eq((a - b)[-1])", Node("[-1]", ("a",), "_0 <= 0"), "x.eq(a - b <= 0)"),
        ("x.eq(a[:n].any())", Node("[:]", ("a",), "_0"), "x.eq(a.any())"),
        ("x.eq(~a[-1] | a[-1])", Node("~[-1]", ("a",), "_0 > 0"), "x.eq((a > 0) | a[-1])"),
        ("x.eq(a.b & b)", Exchange("a.b", "c"), "x.eq(a.c & b)"),
        ("x.eq(self.a.b)", Exchange("a.b", "c"), "x.eq(self.a.c)"),
        ("x.eq(y > z)", Exchange("y", "z"), "x.eq(z > z)"),
    ],
)
def test_operators(before, operator, after):
    assert changed(before, operator) == after


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x.eq(1)", X),
        ("x = 1", X),
        ("self.part.x[step].eq(1)", X),
        ("self.part.x[step].eq(1)", Place("room", "part.x")),
        ("first.x.eq(0)\nsecond.x.eq(1)", Place("room", "second.x")),
        ("x = Signal(8)\nx.eq(1)", X),
        ("x = Signal.like(y)\nx.eq(1)", X),
        ("y = x == 0\nxx.eq(0)\nCat(x, y).eq(0)\nx.eq(1)", X),
        ("steps = [y.eq(0), (\n  x\n  .eq( 1 )\n)]", X),
        (
            "with m.If(a):\n x.eq(0)\nwith m.Elif(b[0] & c):\n x.eq(1)",
            Place("room", "x", under="b"),
        ),
        ("with m.If(a), m.If(b):\n x.eq(1)\nx.eq(0)", Place("room", "x", under="a")),
        (
            "with m.State('A'):\n x.eq(0)\nwith m.State('B'), m.If(a):\n x.eq(1)",
            Place("room", "x", under="B"),
        ),
        ("class A:\n x = 0\nclass B:\n def f(self):\n  x.eq(1)", Place("room", "x", owner="B")),
        ("def f():\n x.eq(0)\ndef g():\n x.eq(1)", Place("room", "x", owner="g")),
    ],
)
def test_the_assignment_of_1_is_the_only_place(text, place):
    assert changed(text, Whole("2"), place) == ast.unparse(ast.parse(text.replace("1", "2")))


@pytest.mark.parametrize("inner", ["If(b)", "If(b), m.State('A')"])
def test_the_innermost_condition_is_a_place(inner):
    source = f"with m.If(a):\n    with m.{inner}:\n        x.eq(1)\n        x.eq(0)"
    place = Place("room", "x", condition=True)
    assert changed(source, Whole("1"), place) == source.replace("If(b)", "If(1)")


def test_a_class_without_a_signal_is_a_place():
    source = "class A:\n\n    def f(self):\n        return a.b\na.b"
    place = Place("room", owner="A")
    assert changed(source, Exchange("a.b", "c"), place) == source.replace("a.b\n", "a.c\n", 1)


def test_the_file_of_a_room_does_not_matter(tmp_path):
    for file, text in {"a.py": "y.eq(1)", "deeper/b.py": "x.eq(1)", "c.txt": "x.eq(1)"}.items():
        (tmp_path / "room" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "room" / file).write_text(text)
    found = [mutate(read_room(tmp_path, room), X, Whole("0")) for room in ("", "room")]
    assert found == [("room/deeper/b.py", "x.eq(0)")] * 2


@pytest.mark.parametrize(
    ("text", "operator", "found"),
    [
        ("y.eq(a & b)", drop("&", "a"), "found 0"),
        ("x.eq(a | b)", drop("&", "a"), "found 0"),
        ("x.eq(a & a)", drop("&", "a"), "found 2: hw/room/a.py:1, hw/room/a.py:1"),
        ("x.eq(a & b)\nx.eq(a & c)", drop("&", "a"), "found 2: hw/room/a.py:1, hw/room/a.py:2"),
    ],
)
def test_a_place_that_is_not_found_once_is_an_error(text, operator, found):
    what = f"looked for one {operator} in hw/room, assignments to x, {found}"
    with pytest.raises(MutationError, match=f"^{re.escape(what)}$"):
        changed(text, operator)


def test_many_faults_in_one_source():
    """Side by side, one in another, and at the same node."""
    sources = {
        "room/a.py": '"""A."""\nfrom __future__ import annotations\nimport a\nx.eq(a & (b + 1))',
        "room/b.py": "z.eq(0)",
        "hall/c.py": "x.eq(0)",
    }
    faults = [
        (X, drop("&", "a")),
        (X, drop("+", "1")),
        (X, Whole("_ | c")),
        (Place("hall", "x"), Whole("1")),
    ]
    both = mutate_all(sources, faults, "tests.choice")
    assert both["room/a.py"].splitlines() == [
        '"""A."""',
        "from __future__ import annotations",
        "from tests import choice",
        "import a",
        "x.eq(choice(3, a & b + 1 | c, choice(1, b + 1, a & choice(2, b, b + 1))))",
    ]
    assert both["hall/c.py"] == "from tests import choice\nx.eq(choice(4, 1, 0))"
    assert set(both) == {"room/a.py", "hall/c.py"}


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_selected_fault_is_the_only_one(number):
    faults = [(X, drop("+", "b")), (X, Whole("_ + 100")), (X, Operand("+", ("a",), "-_"))]
    source = {"room/a.py": "x.eq(a + b)"}
    good = {0: "x.eq(a + b)", 1: "x.eq(a)", 2: "x.eq(a + b + 100)", 3: "x.eq(-a + b)"}[number]

    def value(text: str) -> int:
        names = {"a": 3, "b": 5, "choice": lambda n, new, old: new if n == number else old}
        call = text.splitlines()[-1].removeprefix("x.eq")
        return eval(call, names)

    assert value(mutate_all(source, faults, "tests.choice")["room/a.py"]) == value(good)


def test_a_comparison_has_no_operand_that_can_be_dropped():
    with pytest.raises(MutationError, match=r"^a == b has no operand that can be left out$"):
        changed("x.eq(a == b)", drop("==", "a"))


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Place(""), "hw/"),
        (Place("room", owner="A"), "hw/room, A"),
        (Place("room", "x", under="a"), "hw/room, assignments to x under a"),
        (Place("room", "x", condition=True), "hw/room, conditions of assignments to x"),
    ],
)
def test_places_in_words(place, words):
    assert str(place) == words
