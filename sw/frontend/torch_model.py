"""PyTorch models from a user's own code, with their weights, as exported programs."""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import io
import logging
import pickle
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from residuum.sw.errors import ResiduumError
from residuum.sw.frontend import supported
from residuum.sw.network.graph import Shape

# Keys under which files keep the weights, and what wrappers put in front of their names.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
# Characters of an error of torch that are repeated.
_LONGEST = 240
# A batch of two tells operators that keep the batch from those that do not.
_BATCH = 2


def load_module(source: str, *, weights: Path | None = None) -> nn.Module:
    """The module that ``source`` makes, in evaluation mode, with its weights.

    ``source`` is "file.py:callable" or "package.module:callable"; the callable takes no arguments
    and returns a module. While a file is imported its folder is on ``sys.path``. Raises
    ``ResiduumError`` for everything that goes wrong, with file and line of the user's code.
    """
    file, colon, attribute = source.rpartition(":")
    if not colon or not file or not attribute:
        raise ResiduumError(
            f"{source!r} does not name a model; write file.py:callable, package.module:callable, "
            "or the path of a .pt2 file"
        )
    with _users_code(f"importing {file}"), _on_path(file):
        namespace = _imported(file)
    if not hasattr(namespace, attribute):
        raise ResiduumError(f"{file} has no {attribute!r}")
    made = getattr(namespace, attribute)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise ResiduumError(f"{source} is not callable; it must return an nn.Module")
        with _users_code(f"calling {source}"), _on_path(file):
            made = made()
    if not isinstance(made, nn.Module):
        raise ResiduumError(f"{source} returned {type(made).__name__!r}; it must be an nn.Module")
    made = _unwrapped(made)
    if weights is not None:
        load_weights(made, weights)
    return made.cpu().eval()


def _unwrapped(module: Any) -> Any:
    """The module inside of DataParallel and torch.compile."""
    while True:
        if isinstance(module, nn.DataParallel):
            module = module.module
        elif isinstance(module, nn.Module) and hasattr(module, "_orig_mod"):
            module = module._orig_mod
        else:
            return module


def _imported(file: str) -> Any:
    if not file.endswith(".py"):
        return importlib.import_module(file)
    path = Path(file)
    if not path.is_file():
        raise ResiduumError(f"there is no file {file}")
    # torch.export and pickles look modules up by name.
    name = f"residuum_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _on_path(file: str) -> Iterator[None]:
    """The folder of a file, or the current one, in front of ``sys.path``."""
    folder = str(Path(file).resolve().parent) if file.endswith(".py") else str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


@contextmanager
def _users_code(doing: str) -> Iterator[None]:
    """Errors of code of the user as one sentence with file and line."""
    try:
        yield
    except ResiduumError:
        raise
    except (Exception, SystemExit) as error:
        raise ResiduumError(f"{doing} failed{_place(error)}: {_first_line(error)}") from error


def _place(error: BaseException) -> str:
    """File and line where an error was raised, outside of Python's and torch's own files."""
    if isinstance(error, SyntaxError):
        return f" in {error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith("<")
        and "site-packages" not in frame.filename
        and Path(frame.filename) != Path(__file__)
        and not frame.filename.startswith(str(Path(importlib.__file__).parent))
    ]
    return f" in {own[-1].filename}, line {own[-1].lineno}" if own else ""


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a file of weights into a module, from any device and most wrappers.

    Raises ``ResiduumError`` if the file is not one of weights, or if names or shapes differ.
    """
    tensors = read_weights(path)
    expected = module.state_dict()
    found = _without_prefixes(tensors, expected)
    counted = [key for key in expected if key not in found]
    missing = [key for key in counted if not key.endswith("num_batches_tracked")]
    extra = [key for key in found if key not in expected]
    if missing or extra:
        raise ResiduumError(
            f"{path} does not fit the model: "
            + " and ".join(
                f"{len(keys)} weights are {what}, such as {', '.join(keys[:3])}"
                for keys, what in ((missing, "missing"), (extra, "not in the model"))
                if keys
            )
        )
    for key, tensor in found.items():
        if tensor.shape != expected[key].shape:
            raise ResiduumError(
                f"{path} does not fit the model: {key} has the shape {tuple(tensor.shape)}, but "
                f"the model has {tuple(expected[key].shape)}"
            )
    module.load_state_dict(found, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that ``torch.save`` wrote, by name.

    Raises ``ResiduumError`` if the file is missing, damaged, or holds more than weights.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ResiduumError(f"there is no file {path}") from None
    except pickle.UnpicklingError:
        raise ResiduumError(
            f"{path} holds more than weights, which is not loaded since it could run any code; "
            "save model.state_dict() instead"
        ) from None
    except OSError as error:
        raise ResiduumError(f"{path} cannot be read: {error.strerror or error}") from None
    except (RuntimeError, EOFError, ValueError, KeyError):
        # torch's own words for a damaged file are about its zip reader.
        raise ResiduumError(
            f"{path} is no file of weights that torch.save wrote, or it is damaged; save "
            "model.state_dict() again"
        ) from None
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ResiduumError(f"{path} holds no weights by name; save model.state_dict()")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ResiduumError(f"{path} holds no weights by name; save model.state_dict()")
    return tensors


def _without_prefixes(tensors: dict[str, Tensor], expected: Mapping[str, Any]) -> dict[str, Tensor]:
    """The names as the model has them: wrappers put a prefix in front of all."""
    changed = True
    while changed and not set(tensors) & set(expected):
        changed = False
        for prefix in _PREFIXES:
            if all(key.startswith(prefix) for key in tensors):
                tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
                changed = True
                break
    return tensors


def load_program(path: Path, weights: Path | None = None) -> torch.export.ExportedProgram:
    """A program that ``torch.export.save`` wrote. Raises ``ResiduumError`` if it cannot be read."""
    if weights is not None:
        raise ResiduumError(f"{path} has its weights already; leave out {weights}")
    if not path.is_file():
        raise ResiduumError(f"there is no file {path}")
    try:
        with _quiet():
            return torch.export.load(path)
    except Exception as error:
        raise ResiduumError(
            f"{path} is no program that torch.export.save of torch {torch.__version__} can read: "
            f"{_first_line(error)}"
        ) from None


def export(module: nn.Module, input_shape: Shape, *, name: str) -> torch.export.ExportedProgram:
    """``torch.export`` of a module on pictures of ``input_shape``.

    Raises ``ResiduumError`` if the module cannot be traced, or does not take such pictures.
    """
    _check_kind(module, name)
    module = module.cpu().eval()
    floating = [p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()]
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in floating):
        module = copy.deepcopy(module).float()
        floating = []
    dtype = torch.float64 if any(p.dtype == torch.float64 for p in floating) else torch.float32
    example = torch.zeros(_BATCH, *input_shape, dtype=dtype)
    try:
        with torch.no_grad(), _quiet():
            module(example)
    except Exception as error:
        raise ResiduumError(
            f"{name} does not take pictures of the shape {input_shape}{_place(error)}: "
            f"{_first_line(error)}"
        ) from error
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(module, (example,))
    except Exception as error:
        if "DataDependent" in type(error).__name__:
            raise ResiduumError(
                f"{name} has an if or a loop on the numbers of the image{_place(error)}; make the "
                "model do the same for every image"
            ) from error
        raise ResiduumError(
            f"{name} cannot be traced by torch.export{_place(error)}: {_first_line(error)}"
        ) from error


def _check_kind(module: nn.Module, name: str) -> None:
    """``ResiduumError`` for modules that torch.export does not take, with a cure."""
    if isinstance(module, torch.jit.ScriptModule):
        raise ResiduumError(
            f"{name} is TorchScript, which torch.export does not take: give the Python code of the "
            "model and a file of weights"
        )
    for path, each in module.named_modules():
        if type(each).__module__.startswith(("torch.ao.nn.", "torch.nn.quantized")):
            supported.refuse(f"{path or name!r} ({type(each).__name__})", supported.QUANTISED)


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and no log of torch, which repeats errors at length."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
