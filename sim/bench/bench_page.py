"""The page ``docs/results.md``, rendered from the report of ``residuum bench``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

# Names of the data sets on the page.
TITLES = {
    "digits": "digits",
    "mnist": "MNIST",
    "mnist-radix": "MNIST, radix code",
    "fashion": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "resnet20": "ResNet-20, rate code",
    "resnet20-radix": "ResNet-20, radix code",
}


@dataclass(frozen=True)
class Column:
    """A column of the table of networks.

    ``cell`` gives the text of a row, '' if the value is unknown. The command also prints the
    columns with ``on_terminal``.
    """

    heading: str
    cell: Callable[[Row], str]
    on_terminal: bool = True


def _build(row: Row, cell: Callable[[Row], str]) -> str:
    return cell(row["build"]) if row["build"] else ""


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


COLUMNS = (
    Column("network", lambda row: f"{TITLES.get(row['model'], row['model'])}, {row['bits']} bit"),
    Column("lanes", lambda row: str(row["lanes"])),
    Column("tau", lambda row: str(row["tau"])),
    Column("T", lambda row: str(row["T"])),
    Column("accuracy", lambda row: f"{row['accuracy']:.2f} %"),
    Column("checked", lambda row: f"{row['rtl_images']:,}", on_terminal=False),
    Column("mismatches", lambda row: f"{row['mismatches']:,}"),
    Column("cycles", lambda row: f"{row['cycles']:,.0f}"),
    Column(
        "model / RTL",
        lambda row: f"{row['predicted_cycles'] / row['cycles']:.4f}",
        on_terminal=False,
    ),
    Column("events", lambda row: f"{row['events']:,.0f}", on_terminal=False),
    Column("SOPs", lambda row: f"{row['sops']:,.0f}", on_terminal=False),
    Column("utilisation", lambda row: f"{100 * row['utilisation']:.1f} %", on_terminal=False),
    Column("clock", lambda row: _build(row, lambda build: f"{row['clock_mhz']:g} MHz")),
    Column("latency", lambda row: _number(row["latency_us"], ",.1f") and latency(row)),
    Column("images/s", lambda row: _number(row["images_per_second"], ",.0f")),
    Column("GSOP/s", lambda row: _number(row["gsops"], ".2f")),
    Column("host", lambda row: f"{row['host']['milliseconds']:.2f} ms", on_terminal=False),
    Column("LUT", lambda row: _build(row, lambda build: f"{build['lut']:,}")),
    Column("EBR", lambda row: _build(row, lambda build: f"{build['ebr']:,}")),
    Column("weight rows", lambda row: f"{row['memory']['weight_rows']:,}", on_terminal=False),
    Column("kbit", lambda row: f"{row['memory']['weight_kbit']:,.0f}", on_terminal=False),
    Column("feature rows", lambda row: f"{row['memory']['feature_rows']:,}", on_terminal=False),
)


def latency(row: Row) -> str:
    """The latency of an image at the clock of the board."""
    microseconds = row["latency_us"]
    return f"{microseconds:,.1f} us" if microseconds < 1000 else f"{microseconds / 1000:,.2f} ms"


@dataclass(frozen=True)
class Anchor:
    """A published figure; ``mark`` P: from the paper or repository, S: from a secondary source."""

    system: str
    device: str
    cost: str
    result: str
    mark: str


ANCHORS = (
    Anchor(
        "Flexi-NeurA", "small FPGA", "1,623 cells, 7 BRAM", "MNIST 97.23 %, 1.1 ms, 111 mW", "P"
    ),
    Anchor(
        "Spiker+ (open, VHDL generator)",
        "Xilinx",
        "7,612 cells, 18 BRAM",
        "MNIST 93.85 %, 780 us, T = 100",
        "P",
    ),
    Anchor("snn-fpga (open)", "Artix-7, 100 MHz", "6,358 LUT, 40.5 BRAM", "MNIST, 0.52 ms", "P"),
    Anchor("Skydiver", "XC7Z045", "", "MNIST 98.5 %, 22.6 kFPS", "P"),
    Anchor(
        "Cerebron",
        "XC7Z100, 200 MHz",
        "",
        "MNIST 99.40 %, 26 us; CIFAR-10 91.90 %, 10.63 ms; 40-45 GSOP/s",
        "S",
    ),
    Anchor("SyncNN (open, HLS)", "ZCU102", "", "MNIST 99.6 %, 13 kFPS", "S"),
    Anchor(
        "DeepFire",
        "7-series / US+",
        "",
        "MNIST 99.14 %, 40.1 kFPS; CIFAR-10 81.8 %, 28.3 kFPS",
        "P",
    ),
    Anchor(
        "SIA (ANN-SNN, conv)",
        "PYNQ-Z2",
        "",
        "VGG-11 and ResNet-18 within 1 % of the ANN at 8 steps, 38.4 GOPS",
        "P",
    ),
    Anchor(
        "SYNtzulu (open, yosys and nextpnr)",
        "iCE40UP5K",
        "3,473 LC",
        "dense layers, 192 MSOP/s, self-checking netlist simulation",
        "P",
    ),
    Anchor("FINN CNV-W1A1 (not spiking)", "PYNQ-Z2, 100 MHz", "", "CIFAR-10 84.5 %, 661 FPS", "P"),
    Anchor(
        "SRP, the paper (software)",
        "GPU",
        "VGG-16, tau 4",
        "CIFAR-100 71.52/74.31/75.42/76.25 % at T 1/2/4/8, ANN 76.28 %",
        "P",
    ),
)
# Data sets with published figures; the page compares their rows with a probe.
_COMPARED = ("mnist", "cifar10")

_COLUMN_NOTES = """\
- **accuracy**: of the integer network on *all* held-out images ({test_images}).
- **checked**: images, from the first held-out one on, that the engine classified in Verilator,
  with every spike train, mask, logit and class compared with the golden model; **mismatches**:
  values that differ. Cycles, events and SOPs are averages over these images.
- **cycles**: of one image, from the start of the run to its last result, all tau + T steps
  included: the steps of the probe are part of every figure. **model / RTL**: cycles that the
  cycle model predicts over those that the hardware counted; the largest difference for a single
  image is {worst}.
- **events**: weight rows added, one per cycle at most, or two with 32 and more lanes.
  **utilisation**: the cycles that the events take at least, in each window those of the fuller
  of both streams, over the cycles that passed. **SOPs**: synaptic operations, a weight added for
  one spike bit (of the image: one bit that is set) into one output neuron.
- **clock**: what the board's PLL makes, and the whole design (engine, link, PLL) reaches after
  place and route; see the second table.
- **latency**: cycles / clock. **images/s**: clock / cycles, one image after another. **GSOP/s**:
  SOPs per second at that rate.
- **host**: time of an image on the wire, *not* included in the latency: one request with its
  pixels; the reply, with class and logits, is shorter and comes while the next image is sent.
  Bytes are counted as the host library sends them, with framing, escapes and CRC, ten bits each,
  at the bit rate of the board's UART. `residuum bench --wire` adds the USB bridge.
- **LUT**, **EBR**: of the whole design after place and route; LUT counts 4-input LUT sites (two
  for a carry cell, six for a LUT memory), EBR memory blocks of 18 Kbit.
- **weight rows**, **kbit**, **feature rows**: what the network uses of the engine's weight store
  (a row is a weight for every lane; 1 kbit = 1,024 bit) and of its feature memory (a row is a
  train for every lane)."""

_NOT_COMPARABLE = """\
Why the two tables are not directly comparable:

- **Measured on what:** here cycles come from the simulated hardware and the clock from place and
  route; no board was measured, and power is not known.
- **Input coding:** here the image is the same current in every step, and its 8-bit pixels are
  processed as bit-planes. A design that codes pixels as spike rates needs many more steps
  (T = 100 above); a design with binary images processes fewer bits.
- **Time steps:** here tau + T, the probe's tau steps included in every latency and SOP. In the
  figures of SRP, T leaves the tau steps out.
- **Host transfer:** not in the latency here but in the column *host*; publications do not always
  say whether their latency includes it.
- **Weights:** here all are on chip and loaded once, before the first image (*load* in the second
  table); no latency includes this.
- **Throughput:** here one image after another without overlap, so it is the inverse of the
  latency; a pipeline over layers, such as FINN, has several images in flight, and its frames per
  second say little about its latency.
- **Networks and weights:** of different sizes and widths; definitions of a SOP differ.
- **Logic:** a 4-input LUT of ECP5 holds less logic than a 6-input LUT of Xilinx; an EBR has 18
  Kbit, a BRAM 36 Kbit."""


def render(report: Row) -> str:
    """The page in Markdown."""
    rows = report["rows"]
    tests = dict.fromkeys((row["model"], row["test_images"]) for row in rows)
    notes = _COLUMN_NOTES.format(
        test_images=", ".join(f"{TITLES.get(name, name)} {count:,}" for name, count in tests),
        worst=f"{100 * max(row['worst_cycle_error'] for row in rows):.2g} %",
    )
    steps = ", ".join(f"({tau}, {T})" for tau, T in dict.fromkeys((r["tau"], r["T"]) for r in rows))
    return (
        "\n\n".join(
            [
                "# Results",
                f"Written by `{report['command']}`; no figure of this project here is entered by "
                "hand. `make bench` measures all networks, from a fresh clone. Steps (tau, T): "
                f"{steps}; with tau = 0 there is no probe, which is plain conversion.",
                _outcome(rows),
                _table(COLUMNS, rows),
                "## Columns\n" + notes,
                "## Engines and memory\n" + _engines(rows),
                _build_notes(rows),
                "## Beside others\n"
                "Source P: read in the paper or repository of that system; S: from a secondary "
                "source, not verified.",
                _anchors(rows),
                _NOT_COMPARABLE,
                "## Commands\n" + _commands(rows),
            ]
        )
        + "\n"
    )


def _outcome(rows: Sequence[Row]) -> str:
    images, mismatches = (sum(row[key] for row in rows) for key in ("rtl_images", "mismatches"))
    if not mismatches:
        return f"{images:,} runs of an image on the simulated engine, no value that differs."
    first = next(row["first_mismatch"] for row in rows if row["mismatches"])
    return (
        f"**{mismatches:,} values differ** in {images:,} runs of an image on the simulated engine; "
        f"the first: {first}."
    )


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    return _markdown(
        [column.heading for column in columns],
        [[column.cell(row) for column in columns] for row in rows],
        left=1,
    )


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """A table whose first ``left`` columns are left-aligned, the others right-aligned."""
    rule = ["---" if index < left else "--:" for index in range(len(headings))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows))


def _engines(rows: Sequence[Row]) -> str:
    """A line for each network on an engine, with the values that do not depend on tau and T."""
    headings = (
        *("network", "board", "preset", "device", "lanes", "clock", "Fmax", "seed"),
        *("LUT", "FF", "EBR", "DSP", "weight rows", "feature rows", "image", "load"),
    )
    lines = []
    for row in {(row["model"], row["board"], row["preset"]): row for row in rows}.values():
        build, memory, host = row["build"], row["memory"], row["host"]
        device = [""] if build is None else [f"{build['device']}-{build['speed_grade']}"]
        counts = [""] * 7
        if build:
            offered = build["available"]
            counts = [
                f"{build['target_mhz']:g} MHz",
                f"{build['fmax_mhz']:.1f} MHz",
                str(build["seed"]),
                *(f"{build[key]:,} of {offered[key]:,}" for key in ("lut", "ff", "ebr", "dsp")),
            ]
        lines.append(
            [
                f"{TITLES.get(row['model'], row['model'])}, {row['bits']} bit",
                *(row["board"], row["preset"], *device, str(row["lanes"]), *counts),
                *(
                    f"{memory[f'{kind}_rows']:,} of {memory[f'{kind}_rows_there']:,}"
                    for kind in ("weight", "feature")
                ),
                f"{host['bytes_sent']:,.0f} + {host['bytes_received']:,.0f} bytes",
                f"{host['load_bytes']:,} bytes, {host['load_seconds']:.2f} s",
            ]
        )
    bauds = dict.fromkeys(f"{row['host']['baud']:,}" for row in rows)
    return _markdown(headings, lines, left=4) + (
        "\n\n*image*: bytes to the board and back for one image; *load*: bytes that load the "
        "network, once, and their time. Both at the bit rate of the board "
        f"({', '.join(bauds)} baud), without the overhead of USB and of the host's system."
    )


def _build_notes(rows: Sequence[Row]) -> str:
    builds = {(row["board"], row["preset"]): row["build"] for row in rows if row["build"]}
    if not builds:
        return (
            "**Place and route was left out** (`--no-build`), so clock, area, and all that follows "
            "from them (latency, images per second, GSOP/s) are blank."
        )
    lines = [
        "All speeds of this page are given at *clock*, which the board's PLL makes. *Fmax* is what "
        "the design reaches with the first seed of place and route that meets the clock, or with "
        "the best if none does. The layout serves every network: only the contents of the memories "
        "change."
    ]
    for (board, preset), build in builds.items():
        if not build["met"]:
            lines.append(
                f"`{board}` with the preset {preset} stays below {build['target_mhz']:g} MHz: its "
                f"bitstream needs a clock of at most {build['fmax_mhz']:.1f} MHz (`FREQ=`)."
            )
        beyond = [
            key for key in ("lut", "ff", "ebr", "dsp") if build[key] > build["available"][key]
        ]
        if beyond:
            kinds = " and ".join(key.upper() for key in beyond)
            lines.append(
                f"`{board}` with the preset {preset} takes more {kinds} than the data sheet of the "
                f"{build['device']} states; the die has them, and the tools use them."
            )
    tools = dict.fromkeys(
        f"{tool} {version}" for build in builds.values() for tool, version in build["tools"].items()
    )
    lines.append(f"Tools: {'; '.join(tools)}.")
    return "\n\n".join(lines)


def _anchors(rows: Sequence[Row]) -> str:
    ours = []
    for row in rows:
        if row["model"] not in _COMPARED or not row["tau"]:
            continue
        build = row["build"]
        clock = f"{build['device']}, {row['clock_mhz']:.0f} MHz" if build else row["board"]
        cost = f"{build['lut']:,} LUT, {build['ebr']} EBR" if build else ""
        title = TITLES.get(row["model"], row["model"])
        result = f"{title} {row['accuracy']:.2f} %"
        if build:
            result += f", {latency(row)}, {row['images_per_second']:,.0f} FPS"
            result += f", {row['gsops']:.2f} GSOP/s"
        steps = f"tau {row['tau']}, T {row['T']}"
        name = f"**Residuum**, {row['lanes']} lanes, {row['bits']} bit, {steps}"
        ours.append([name, clock, cost, result, "this page"])
    others = [[a.system, a.device, a.cost, a.result, a.mark] for a in ANCHORS]
    headings = ("system", "device", "cost", "result", "source")
    return _markdown(headings, [*ours, *others], left=5)


def _commands(rows: Sequence[Row]) -> str:
    """The commands that reproduce the single figures."""
    lines = ["```sh", "make bench                    # this page"]
    for row in {(r["model"], r["preset"]): r for r in rows}.values():
        network = f"{row['model']} --bits {row['bits']}"
        lines += [
            f"residuum eval {network}   # accuracy, golden model",
            f"residuum verify {network} --preset {row['preset']}   # all images on the engine",
            f"residuum bitstream {row['board']} --preset {row['preset']} --model {row['model']} "
            f"--bits {row['bits']}",
        ]
    return "\n".join([*lines, "```"])
