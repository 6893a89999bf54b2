"""The public names of the package, and the page that shows them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import residuum

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def test_every_public_name_is_there_and_on_the_page() -> None:
    names = set(residuum.__all__)
    assert {name for name in names if not hasattr(residuum, name)} == set()
    assert names <= set(dir(residuum))
    _, _, table = PAGE.partition("| name |")
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    shown = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    assert shown == names


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'residuum' has no attribute 'nothing'"):
        residuum.nothing  # noqa: B018


def test_import_loads_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "amaranth", "cocotb", "rich")
    script = f"import residuum, sys; sys.exit(any(name in sys.modules for name in {heavy}))"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_the_examples_of_the_page_run(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One after another in one namespace, as a reader would type them."""
    scope: dict[str, object] = {}
    for example in EXAMPLES:
        exec(example, scope)
    printed = capsys.readouterr().out.splitlines()
    accuracy, shape, classes, several, words, imported = printed
    assert (round(float(accuracy), 4), shape) == (0.9972, "(360, 8, 16, 8, 8)")
    said, label = classes.split()
    assert said == label
    assert several == "." * 20 + " True"
    assert words.endswith(" host words")
    assert (in_tmp / "digits-6bit.npz").exists()
    assert len(imported.strip("[]").split()) == 5
