"""``residuum synth``."""

import argparse

DESCRIPTION = """\
Synthesise the engine or one of its units for ECP5 and print its resources. Also writes
build/synth/UNIT-LANESxSTEPS-ROWS/report.json, the netlist and the log."""
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
    parser.add_argument("--lanes", type=int, default=16, help="output channels in parallel")
    parser.add_argument("--steps", type=int, default=8, help="time steps in parallel")
    parser.add_argument("--weight-rows", type=int, default=2048, help="rows of the weight store")


def run(args: argparse.Namespace) -> int:
    """Synthesise, print a table and the path of the report."""
    from residuum.boards.build.synth import REPORT, synthesise_unit, unit_folder
    from residuum.commands.console import ConsoleReporter, say_written
    from residuum.commands.tables import print_records

    sizes = {"lanes": args.lanes, "steps": args.steps, "weight_rows": args.weight_rows}
    found = synthesise_unit(args.unit, **sizes, reporter=ConsoleReporter())
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
        title=f"{args.unit}: {args.lanes} lanes, {args.steps} steps, {args.weight_rows:,} weight "
        "rows, ECP5 after synthesis",
        numbers=["count"],
    )
    say_written(unit_folder(args.unit, **sizes) / REPORT)
    return 0
