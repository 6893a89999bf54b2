"""``residuum synth``."""

import argparse

from residuum.commands.arguments import add_engine_sizes, engine_sizes

DESCRIPTION = """\
Synthesise the engine or one of its units for ECP5 and print its resources. Also writes
build/synth/UNIT-LANESxSTEPS-ROWS/report.json (other sizes follow in the name), the netlist and the
log."""
EXAMPLES = """\
examples:
  residuum synth                     the engine with 16 lanes and 8 steps
  residuum synth --lanes 32          twice the lanes
  residuum synth --weight-rows 1024  a smaller weight store
  residuum synth --unit tile         one unit alone
"""


def configure(parser: argparse.ArgumentParser) -> None:
    from residuum.boards.build.synth import UNITS

    parser.add_argument("--unit", default="engine", help=f"one of: {', '.join(UNITS)}")
    add_engine_sizes(parser, default="those of `EngineConfig`, see docs/engine.md")


def run(args: argparse.Namespace) -> int:
    """Synthesise, print a table and the path of the report."""
    from residuum.boards.build.synth import REPORT, engine_of, synthesise_unit, unit_folder
    from residuum.commands.console import ConsoleReporter, say_written
    from residuum.commands.tables import print_records

    config = engine_of(engine_sizes(args))
    found = synthesise_unit(args.unit, config, reporter=ConsoleReporter())
    rows = (
        ("LUT4", "lut4", "LUTs + 2 per carry cell + 6 per LUT memory"),
        ("  LUTs", "lut4_logic", "LUT4"),
        ("  carry cells", "carry", "CCU2C"),
        ("  LUT memories", "lut_ram", "TRELLIS_DPR16X4, 16 words of 4 bits"),
        ("FF", "flip_flop", "TRELLIS_FF"),
        ("EBR", "block_ram", "DP16KD + PDPW16KD, 18 Kbit each"),
        ("DSP", "multiplier", "MULT18X18D"),
    )
    print_records(
        [
            {"resource": name, "count": f"{found[key]:,}", "what is counted": meaning}
            for name, key, meaning in rows
        ],
        title=f"{args.unit}: {config.lanes} lanes, {config.steps} steps, "
        f"{config.weight_rows:,} weight rows, ECP5 after synthesis",
        numbers=["count"],
    )
    say_written(unit_folder(args.unit, config) / REPORT)
    return 0
