"""Console output of the commands: bars on a terminal, lines in a log, unparsed names."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from residuum.commands import console as showing
from residuum.commands.console import ConsoleReporter, write_report


def reporter(*, terminal: bool) -> tuple[ConsoleReporter, io.StringIO]:
    out = io.StringIO()
    return ConsoleReporter(Console(file=out, force_terminal=terminal, width=200)), out


@pytest.mark.parametrize("terminal", [False, True])
def test_line_is_said_as_it_is(terminal: bool) -> None:
    shows, out = reporter(terminal=terminal)
    with shows.task("[/x]", total=2):
        shows.say("[/x] of [bold]y[/bold] " + 200 * "z")
    assert f"[/x] of [bold]y[/bold] {200 * 'z'}" in out.getvalue()


def test_terminal_shows_name_detail_and_amount_as_they_are() -> None:
    shows, out = reporter(terminal=True)
    with shows.task("[/x]", total=2000, unit="B") as task:
        task.update(done=500, detail="[/y] 17")
        with shows.task("inner", total=30, unit="images") as inner:
            inner.advance(20)
            shows._progress.refresh()
    text = out.getvalue()
    assert all(part in text for part in ("[/x]", "[/y] 17", "500 bytes/2.0 kB", "inner", "20/30"))


def test_log_has_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    shows, out = reporter(terminal=False)
    now = [0.0]
    monkeypatch.setattr(showing.time, "monotonic", lambda: now[0])
    with shows.task("work [/x]", total=100, unit="images") as task:
        for second in range(0, 125, 5):
            now[0] = float(second)
            task.advance()
    assert out.getvalue().splitlines() == [
        "work [/x]: 13 of 100 images, about 7 min left",
        "work [/x]: 25 of 100 images, about 6 min left",
    ]


def test_report_is_written_and_named(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_report(in_tmp / "deep" / "report.json", {"a": 1})
    assert (in_tmp / "deep" / "report.json").read_text() == '{\n  "a": 1\n}\n'
    assert capsys.readouterr().out == "written: deep/report.json\n"
