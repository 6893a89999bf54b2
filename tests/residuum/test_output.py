"""Output of the command line to a closed pipe or a full disk."""

import subprocess
import sys
from pathlib import Path

import pytest

import residuum
from residuum.cli import main
from residuum.commands import summary

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "residuum"]
SUMMARY = [*COMMAND, "summary", "digits"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert (exit_.value.code, capsys.readouterr().out) == (0, f"residuum {residuum.__version__}\n")


@pytest.mark.parametrize("words", [["summary", "digits"], ["boards"]], ids=" ".join)
def test_a_reader_that_stops_reading_is_no_error(words: list[str]) -> None:
    """As in ``residuum summary digits | head``: the pipe is closed before anything is written."""
    child = subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert (child.stderr.read(), child.wait()) == (b"", 141)
    child.stderr.close()


def test_without_an_output_the_work_is_done() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" >&-', *SUMMARY], stderr=subprocess.PIPE, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_output_that_is_full_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            SUMMARY, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False
        )
    said = "residuum: a file or the output failed: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_an_unexpected_failure_of_a_file_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise PermissionError(13, "Permission denied", "/somewhere/file")

    monkeypatch.setattr(summary, "run", fail)
    assert main(["summary", "digits"]) == 1
    assert capsys.readouterr().err == "residuum: /somewhere/file: Permission denied\n"


def test_an_interrupt_may_say_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt("3 images are kept")

    monkeypatch.setattr(summary, "run", interrupt)
    assert main(["summary", "digits"]) == 130
    assert capsys.readouterr().err == "residuum: interrupted; 3 images are kept\n"
