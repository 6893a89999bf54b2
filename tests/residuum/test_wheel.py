"""An installed wheel, used in a folder with packages of the same names."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
OTHERS = ("hw", "sw", "sim", "boards")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel; dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    # Include uncommitted changes.
    changes = subprocess.run(
        ["git", "diff", "--binary", "HEAD"], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["git", "apply", "--allow-empty"], cwd=source, input=changes.stdout, check=True)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "-w", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", *options, str(wheel)], check=True)
    return python


@pytest.fixture
def users_folder(tmp_path: Path) -> Path:
    for name in OTHERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('a package of the user')\n")
    return tmp_path


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def run(python: Path, folder: Path, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "RESIDUUM_BUILD"}
    environment |= {
        # For the dependencies only: .pth files in this folder, such as the project's, are ignored.
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [str(python), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_one_package_is_installed(installed: Path) -> None:
    (site,) = installed.parents[1].glob("lib/python*/site-packages")
    names = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"residuum"}
    assert (site / "residuum/demo/static/index.html").is_file()
    assert {"hw", "sw", "sim", "boards", "commands"} <= {
        p.name for p in (site / "residuum").iterdir()
    }


def test_commands_and_import_from_a_folder_with_packages_of_these_names(
    installed: Path, users_folder: Path
) -> None:
    (site,) = installed.parents[1].glob("lib/python*/site-packages")
    before = files_below(site)
    command = str(installed.with_name("residuum"))
    assert "0 mismatches" in run(installed, users_folder, command, "sim", "digits", "--images", "5")
    assert run(installed, users_folder, "-m", "residuum", "--version").startswith("residuum ")
    where = run(installed, users_folder, "-c", "import residuum.sim as s; print(s.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    program = "import residuum; print(residuum.load_network('digits').classes)"
    assert run(installed, users_folder, "-c", program) == "10\n"
    assert files_below(site) == before
    assert (users_folder / "cache/residuum/build/sim/report.json").exists()
    assert {path.name for path in users_folder.iterdir()} == {*OTHERS, "cache"}
