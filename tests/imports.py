"""Reads the imports of a source tree from syntax trees, and checks the import rules."""

import ast
import graphlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# Folders of the package `residuum`, and the folders that each may import; `residuum` is the top.
MAY_IMPORT = {
    "residuum": ("residuum", "sim", "boards", "sw", "hw"),
    "sim": ("sim", "boards", "sw", "hw"),
    "boards": ("boards", "sw", "hw"),
    "sw": ("sw", "hw.isa"),
    "hw": ("hw",),
    "hw.isa": ("hw.isa",),
}
ROOMS = ("hw", "sw", "sim", "boards")

# Packages outside the project that a folder must not import.
MUST_NOT_IMPORT = {"hw": ("torch", "amaranth_boards", "tests"), "hw.isa": ("amaranth",)}
MUST_NOT_IMPORT |= dict.fromkeys(("residuum", "sim", "boards", "sw"), ("tests",))

FRONT_DOOR_ONLY = ("argparse", "rich")


@dataclass(frozen=True)
class Import:
    """A module imports another.

    Attributes
    ----------
    file, line
        Position of the import.
    name
        Imported name, absolute and dotted.
    target
        Imported file, if it is in the tree.
    """

    file: str
    line: int
    name: str
    target: str | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name}"


def read(root: Path, folders: Iterable[str] = MAY_IMPORT) -> list[Import]:
    """All imports of the folders, including those in functions and under TYPE_CHECKING."""
    files = {
        file.relative_to(root).as_posix(): file
        for folder in folders
        for file in sorted((root / folder).rglob("*.py"))
        if not any(parent.is_symlink() for parent in file.parents)
    }
    modules = {_module(file): file for file in files}
    return [
        Import(file, line, name, modules.get(name))
        for file, path in files.items()
        for line, name in dict.fromkeys(
            _imported(ast.parse(path.read_text()), _package(file), modules)
        )
    ]


def _module(file: str) -> str:
    parts = PurePosixPath(file).with_suffix("").parts
    parts = ("residuum", *parts) if parts[0] in ROOMS else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _package(file: str) -> list[str]:
    """The package for relative imports in a file."""
    return _module(PurePosixPath(file).with_name("__init__.py").as_posix()).split(".")


def _imported(
    tree: ast.Module, package: list[str], modules: Iterable[str]
) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package[: len(package) - level + 1] if level else []
                prefix = ".".join([*base, *([module] if module else [])])
                for alias in names:
                    inner = f"{prefix}.{alias.name}"
                    yield node.lineno, inner if inner in modules else prefix
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(func) in ("importlib.import_module", "import_module", "__import__"):
                    yield node.lineno, name


def _within(name: str, folders: Iterable[str]) -> bool:
    return any(name == folder or name.startswith(f"{folder}.") for folder in folders)


def _in_folder(file: str, folder: str) -> bool:
    return file.startswith(folder.replace(".", "/") + "/")


def upwards(imports: Iterable[Import], folder: str) -> list[str]:
    """Imports of a folder that violate `MAY_IMPORT`."""
    below = MAY_IMPORT[folder]
    found = []
    for each in imports:
        if not _in_folder(each.file, folder):
            continue
        # `residuum.hw` and the other `ROOMS` have their own rules; all other modules are the top.
        name = each.name.removeprefix("residuum.")
        place = name if _within(name, ROOMS) else "residuum"
        if _within(each.name, ["residuum"]) and not _within(place, below):
            found.append(f"{each}; {folder} may import {', '.join(below)} only")
        if _within(each.name, MUST_NOT_IMPORT[folder]):
            found.append(f"{each}; {folder} must not")
    return found


def by_plain_name(imports: Iterable[Import]) -> list[str]:
    """Imports of a folder without the prefix ``residuum.``, which may find a foreign package."""
    return [f"{each}; write residuum.{each.name}" for each in imports if _within(each.name, ROOMS)]


def by_plain_name_in_page(page: str, text: str) -> list[str]:
    """Imports without the prefix ``residuum.`` in the code blocks of a page."""
    found, in_code = [], False
    for number, line in enumerate(text.splitlines(), 1):
        in_code ^= line.lstrip().startswith("```")
        match = re.search(rf"(?:^\W*(?:from|import)|\bpython3? -m) ({'|'.join(ROOMS)})\b", line)
        if in_code and match:
            found.append(f"{page}:{number} names {match[1]}; write residuum.{match[1]}")
    return found


def front_door_only(imports: Iterable[Import], exceptions: Iterable[str] = ()) -> list[str]:
    """Imports that only commands may use, and unneeded exceptions."""
    users = [
        each
        for each in imports
        if _within(each.name, FRONT_DOOR_ONLY) and not each.file.startswith("residuum/")
    ]
    found = [f"{each}; only residuum/ may" for each in users if each.file not in exceptions]
    needed = {each.file for each in users}
    return found + [f"{file} needs no exception" for file in exceptions if file not in needed]


def cycles_of_files(imports: Iterable[Import]) -> list[str]:
    """Import cycles of files, of any length."""
    edges = [(each, each.file, each.target) for each in imports if each.target]
    return [words for _, words in _cycles(edges)]


def cycles_of_folders(imports: Iterable[Import]) -> list[str]:
    """Import cycles between the entries (files and folders) of a folder, even if they contain no
    cycle of files."""
    levels: dict[PurePosixPath, list[tuple[Import, str, str]]] = {}
    for each in imports:
        if each.target is None:
            continue
        file, target = PurePosixPath(each.file), PurePosixPath(each.target)
        common = next(parent for parent in file.parents if parent in target.parents)
        start, end = (
            (common / path.relative_to(common).parts[0]).as_posix() for path in (file, target)
        )
        levels.setdefault(common, []).append((each, start, end))
    return [
        words
        for edges in levels.values()
        for cycle, words in _cycles(edges)
        if not all(name.endswith(".py") for name in cycle)
    ]


def _cycles(edges: Iterable[tuple[Import, str, str]]) -> list[tuple[list[str], str]]:
    """Cycles of a graph: finds one, removes an edge of it, and repeats. Each cycle comes with a
    description, which has the first import of every edge."""
    reasons: dict[tuple[str, str], Import] = {}
    graph: dict[str, list[str]] = {}
    for each, start, end in edges:
        if start != end and (start, end) not in reasons:
            reasons[start, end] = each
            graph.setdefault(start, []).append(end)
    found: list[tuple[list[str], str]] = []
    while True:
        try:
            graphlib.TopologicalSorter(graph).prepare()
            return found
        except graphlib.CycleError as error:
            cycle = error.args[1][::-1]
            steps = list(zip(cycle, cycle[1:], strict=False))
            words = [" -> ".join(cycle), *(f"    {reasons[step]}" for step in steps)]
            found.append((cycle, "\n".join(words)))
            graph[cycle[0]].remove(cycle[1])
