"""Finds and changes places in RTL sources on the syntax tree.

Places do not depend on formatting, on the order of statements, or on the file within a folder.
"""

import ast
import copy
import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Change = tuple[ast.AST, ast.AST]


class MutationError(ValueError):
    """A place was not found exactly once."""


class Operator(Protocol):
    """Yields the nodes of an expression that it can change, with their replacements."""

    def changes(self, root: ast.AST) -> Iterator[Change]: ...


@dataclass(frozen=True)
class Place:
    """Values of the assignments to a signal, ``signal.eq(value)`` or ``signal = value``.

    Attributes
    ----------
    room
        Folder or file under ``hw/``; empty for all of it.
    signal
        Name without subscripts, or the end of a dotted name: ``mode.active`` is assigned in
        ``self.mode.active[step].eq(...)``. Empty for any code in the room, or in `owner`.
    owner
        Class or function around the assignment.
    under
        A name in the condition of an ``m.If`` or ``m.Elif`` around the assignment, or the name of
        an ``m.State`` around it.
    condition
        Change the condition of the innermost ``m.If`` or ``m.Elif`` instead of the value.
    """

    room: str
    signal: str = ""
    owner: str = ""
    under: str = ""
    condition: bool = False

    def __str__(self) -> str:
        where = [f"hw/{self.room}"]
        if self.owner:
            where.append(self.owner)
        if self.signal:
            where.append("conditions of " * self.condition + f"assignments to {self.signal}")
        return ", ".join(where) + (f" under {self.under}" if self.under else "")

    def roots(self, tree: ast.Module) -> Iterator[ast.AST]:
        """The expressions of a file at this place."""
        yield from self._roots(tree, owners=(), conditions=())

    def _roots(
        self, node: ast.AST, owners: tuple[str, ...], conditions: tuple[ast.expr, ...]
    ) -> Iterator[ast.AST]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            owners += (node.name,)
        here = not self.owner or self.owner in owners
        if here and not self.signal:
            yield node
            return
        if isinstance(node, ast.With):
            conditions += tuple(_conditions(node))
        if here:
            for value in _assigned(node, self.signal):
                if not self.under or any(self.under in _mentioned(c) for c in conditions):
                    tested = [c for c in conditions if not isinstance(c, ast.Constant)]
                    yield from tested[-1:] if self.condition else (value,)
        for child in ast.iter_child_nodes(node):
            yield from self._roots(child, owners, conditions)


@dataclass(frozen=True)
class Whole:
    """Replaces the whole value; ``_`` stands for the original value."""

    to: str

    def changes(self, root: ast.AST) -> Iterator[Change]:
        yield root, _filled(self.to, root)


@dataclass(frozen=True)
class Node:
    """Replaces an operation.

    Attributes
    ----------
    kind
        An operator (``&``, ``>=``, ...), ``[-1]`` for a sign bit, ``~[-1]`` for a negated sign bit,
        ``[:]`` for a slice, or the name of a called function.
    names
        Names and constants that the operation must contain, perhaps among others.
    to
        The new expression; ``_`` is the operation, ``_0``, ``_1``, ... are its operands.
    """

    kind: str
    names: tuple[str, ...]
    to: str

    def changes(self, root: ast.AST) -> Iterator[Change]:
        for node, operands in _operations(root, self.kind):
            if _mentioned(node) >= set(self.names):
                yield node, _filled(self.to, node, operands)


@dataclass(frozen=True)
class Operand:
    """Replaces one operand of an operation, or one argument of a call.

    Attributes
    ----------
    kind
        As in `Node`.
    names
        Names and constants that the operand must contain, perhaps among others.
    to
        The new operand, in which ``_`` is the original operand; None to drop it.
    """

    kind: str
    names: tuple[str, ...]
    to: str | None = None

    def changes(self, root: ast.AST) -> Iterator[Change]:
        for node, operands in _operations(root, self.kind):
            for operand in operands:
                if _mentioned(operand) >= set(self.names):
                    if self.to is None:
                        yield node, _without(node, operands, operand)
                    else:
                        yield operand, _filled(self.to, operand)


@dataclass(frozen=True)
class Exchange:
    """Replaces a name: ``old`` is the end of a dotted name, ``new`` replaces its last part."""

    old: str
    new: str

    def changes(self, root: ast.AST) -> Iterator[Change]:
        for node in ast.walk(root):
            if isinstance(getattr(node, "ctx", None), ast.Load) and _ends(node, self.old):
                if isinstance(node, ast.Attribute):
                    yield node, ast.Attribute(node.value, self.new, ast.Load())
                elif isinstance(node, ast.Name):
                    yield node, ast.Name(self.new, ast.Load())


def drop(kind: str, *names: str) -> Operand:
    """Drops the operand that contains these names."""
    return Operand(kind, names)


def mutate(sources: dict[str, str], place: Place, operator: Operator) -> tuple[str, str]:
    """The changed file and its new text. ``sources`` maps paths under ``hw/`` to texts;
    `MutationError` unless the operator finds exactly one node in all of them."""
    trees = {file: ast.parse(text) for file, text in sources.items()}
    file, (old, new) = _find(trees, place, operator)
    return file, ast.unparse(_Replacement({id(old): [new]}).visit(trees[file]))


def mutate_all(
    sources: dict[str, str], faults: Iterable[tuple[Place, Operator]], choice: str
) -> dict[str, str]:
    """The changed files with all faults at once: at the place of fault n, counted from 1, is the
    call ``choice(n, changed, original)``.

    ``choice`` is the dotted name of a function, which the files import. Each ``changed`` has no
    other fault; every ``original`` may have the places of others.
    """
    trees = {file: ast.parse(text) for file, text in sources.items()}
    changes: dict[str, dict[int, list[ast.AST]]] = {}
    module, _, function = choice.rpartition(".")
    for number, (place, operator) in enumerate(faults, start=1):
        room = {file: tree for file, tree in trees.items() if _is_in(file, place.room)}
        file, (old, new) = _find(room, place, operator)
        # A copy: the other faults must not change it.
        call = _filled(f"{function}({number}, _0)", old, [new])
        changes.setdefault(file, {}).setdefault(id(old), []).append(call)
    texts = {}
    for file, of_file in changes.items():
        tree = _Replacement(of_file, around=True).visit(trees[file])
        first = sum(1 for _ in itertools.takewhile(_comes_first, tree.body))
        tree.body[first:first] = ast.parse(f"from {module} import {function}").body
        texts[file] = ast.unparse(ast.fix_missing_locations(tree))
    return texts


def read_room(hardware: Path, room: str) -> dict[str, str]:
    """The sources in a folder or file of ``hw/``, by path under ``hw/``."""
    path = hardware / room
    files = [path] if path.suffix else sorted(path.rglob("*.py"))
    return {file.relative_to(hardware).as_posix(): file.read_text() for file in files}


def _comes_first(statement: ast.stmt) -> bool:
    """Whether a statement of a module must be in front of its imports."""
    match statement:
        case ast.ImportFrom(module="__future__") | ast.Expr(value=ast.Constant()):
            return True
    return False


def _is_in(file: str, room: str) -> bool:
    """Whether a path under ``hw/`` is that of a room, or in it."""
    return not room or Path(room) in (Path(file), *Path(file).parents)


def _find(trees: dict[str, ast.Module], place: Place, operator: Operator) -> tuple[str, Change]:
    """The file and the change of a fault; `MutationError` unless there is exactly one."""
    found = []
    for file, tree in trees.items():
        for root in {id(root): root for root in place.roots(tree)}.values():
            found += [(file, change) for change in operator.changes(root)]
    if len(found) != 1:
        lines = [f"hw/{file}:{getattr(old, 'lineno', 1)}" for file, (old, _) in found]
        raise MutationError(
            f"looked for one {operator} in {place}, found {len(found)}"
            + (f": {', '.join(lines)}" if lines else "")
        )
    return found[0]


class _Replacement(ast.NodeTransformer):
    """Replaces nodes, given by their identities; ``around``: the new nodes are calls that get the
    node, or the call before, as their last argument."""

    def __init__(self, new: dict[int, list[ast.AST]], *, around: bool = False):
        self.new, self.around = new, around

    def visit(self, node: ast.AST) -> ast.AST:
        new = self.new.get(id(node), [])
        if new and not self.around:
            return new[0]
        result = self.generic_visit(node)
        for call in new:
            call.args.append(result)  # type: ignore[attr-defined]
            result = call
        return result


class _Filling(ast.NodeTransformer):
    """Replaces names by nodes."""

    def __init__(self, values: dict[str, ast.AST]):
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return copy.deepcopy(self.values.get(node.id, node))


def _filled(template: str, whole: ast.AST, operands: Iterable[ast.AST] = ()) -> ast.AST:
    values = {f"_{index}": operand for index, operand in enumerate(operands)}
    return _Filling({"_": whole, **values}).visit(ast.parse(template, mode="eval").body)


_BINARY: dict[str, type[ast.operator]] = {
    "&": ast.BitAnd,
    "|": ast.BitOr,
    "+": ast.Add,
    "-": ast.Sub,
    "<<": ast.LShift,
    ">>": ast.RShift,
}
_COMPARISONS: dict[str, type[ast.cmpop]] = {
    "==": ast.Eq,
    "!=": ast.NotEq,
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
}


def _operations(root: ast.AST, kind: str) -> Iterator[tuple[ast.AST, list[ast.expr]]]:
    """Operations of a kind, each with its operands; ``a & b & c`` is one operation of three."""
    parts: set[int] = set()
    for node in ast.walk(root):
        match node:
            case ast.BinOp() if kind in _BINARY and isinstance(node.op, _BINARY[kind]):
                if id(node) in parts:
                    continue
                operands, left = [], node
                while isinstance(left, ast.BinOp) and isinstance(left.op, _BINARY[kind]):
                    parts.add(id(left))
                    operands.append(left.right)
                    left = left.left  # type: ignore[assignment]
                yield node, [left, *reversed(operands)]
            case ast.Compare(left=left, ops=[op], comparators=[right]) if kind in _COMPARISONS:
                if isinstance(op, _COMPARISONS[kind]):
                    yield node, [left, right]
            case ast.UnaryOp(ast.Invert(), ast.Subscript(value=value) as bit):
                if kind == "~[-1]" and ast.unparse(bit.slice) == "-1":
                    yield node, [value]
            case ast.Subscript(value=value, slice=ast.UnaryOp(ast.USub(), ast.Constant(1))):
                if kind == "[-1]":
                    yield node, [value]
            case ast.Subscript(value=value, slice=ast.Slice()) if kind == "[:]":
                yield node, [value]
            case ast.Call(func=func) if _ends(func, kind):
                yield node, [*node.args, *(keyword.value for keyword in node.keywords)]


def _without(node: ast.AST, operands: list[ast.expr], dropped: ast.expr) -> ast.AST:
    """An operation without one of its operands."""
    rest = [operand for operand in operands if operand is not dropped]
    if isinstance(node, ast.BinOp):
        return functools.reduce(lambda left, right: ast.BinOp(left, node.op, right), rest)
    if isinstance(node, ast.Call):
        args = [arg for arg in node.args if arg is not dropped]
        keywords = [keyword for keyword in node.keywords if keyword.value is not dropped]
        return ast.Call(node.func, args, keywords)
    raise MutationError(f"{ast.unparse(node)} has no operand that can be left out")


def _assigned(node: ast.AST, signal: str) -> Iterator[ast.expr]:
    """The value that the node assigns to the signal, if any; creating a signal does not count."""
    match node:
        case ast.Call(func=ast.Attribute(value=target, attr="eq"), args=[value]):
            if _ends(target, signal):
                yield value
        case ast.Assign(targets=[target], value=value) if _ends(target, signal):
            made = _dotted(value.func) if isinstance(value, ast.Call) else []
            if "Signal" not in made:
                yield value


def _conditions(node: ast.With) -> Iterator[ast.expr]:
    """The conditions of a statement, and the name of a state as a constant."""
    for item in node.items:
        match item.context_expr:
            case ast.Call(func=ast.Attribute(attr="If" | "Elif" | "State"), args=[condition]):
                yield condition


def _mentioned(node: ast.AST) -> set[str]:
    """Names, attributes and constants in an expression."""
    names = set()
    for part in ast.walk(node):
        match part:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                names.add(name)
            case ast.Constant(value=value):
                names.add(str(value))
    return names


def _dotted(node: ast.AST) -> list[str]:
    """The parts of a dotted name, without subscripts; empty for anything else."""
    match node:
        case ast.Name(id=name):
            return [name]
        case ast.Attribute(value=value, attr=name):
            return [*_dotted(value), name]
        case ast.Subscript(value=value):
            return _dotted(value)
    return []


def _ends(node: ast.AST, name: str) -> bool:
    """Whether a dotted name ends in ``name``."""
    parts = name.split(".")
    return _dotted(node)[-len(parts) :] == parts
