"""The page of a study (docs/study.md), rendered from its report: every number is measured."""

from collections.abc import Iterable, Sequence
from typing import Any

from residuum.sw.study.measure import CASES, ERRORS
from residuum.sw.study.plots import ACCURACY, BITS, TOTAL, UNEVENNESS
from residuum.sw.study.published import PUBLISHED
from residuum.sw.study.report import standard_error

# Standard errors from which a difference counts as clear: among the hundred differences of the
# page, less than one is then expected by chance.
CLEAR = 3
_SHOWN_TAUS = (1, 2, 4, 8)
_HALVES = ((2, 2), (4, 4), (8, 8))


def render(report: dict[str, Any]) -> str:
    """The page as Markdown."""
    models = report["models"]
    parts = [
        "# What the residual potential does",
        _introduction(report),
        "## In short",
        _in_short(models, report["engine"]["potential_bits"]),
        "## What is compared",
        _METHOD,
        "## Accuracy",
        _ACCURACY,
        f"![Accuracy against T for several tau]({ACCURACY})",
        *(_accuracy_table(model) for model in models),
        "## SRP and plain conversion at the same total",
        _TOTAL,
        f"![Accuracy against the total of steps]({TOTAL})",
        *(_total_table(model) for model in models),
        "## Reset by subtraction, and hard reset",
        _RESET,
        *(_reset_table(model) for model in models),
        "## The unevenness error",
        _UNEVENNESS,
        f"![Shares of the four errors, by layer]({UNEVENNESS})",
        *(_unevenness_tables(model) for model in models),
        "## Bits of the weights, the fraction and the potential",
        _BITS,
        f"![Accuracy and bits against the bits of the weights and the fraction]({BITS})",
        *(_bits_tables(model, report["engine"]["potential_bits"]) for model in models),
        "## Published figures beside these",
        _published(models),
        "## Limits",
        _LIMITS,
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _introduction(report: dict[str, Any]) -> str:
    images = " ".join(
        f"{model['name']}: {model['images']:,} held-out images, an accuracy has a standard error "
        f"of {standard_error(model['ann']['float'], model['images']):.2f} %."
        for model in report["models"]
    )
    return f"""
SRP (Hao et al., AAAI 2023) spends tau steps on a probe, and then silences the neurons whose
residual membrane potential is negative; [arithmetic.md](arithmetic.md) explains it. This page
measures on the networks of this project when that pays, and which bits the integers need. All
numbers, tables and plots come from

    {report["command"]}

{images}
"""


def _in_short(models: Sequence[dict[str, Any]], engine: int) -> str:
    lines = []
    for model in models:
        rows = {(row["tau"], row["T"]): row for row in model["same_total"]}
        lines.append(f"**{model['name']}** (ANN: {model['ann']['float']:.2f} %)")
        lines.append("")
        for stage in _HALVES:
            row = rows[stage]
            lines.append(
                f"- {row['total']} steps: plain conversion {row['plain']:.2f} %, tau {row['tau']} "
                f"with T {row['T']} {row['srp']:.2f} % ({_difference(row)}), {verdict(row)}."
            )
        lines += [
            f"- {_where_it_pays(model)}",
            f"- {_choice(model)}",
            f"- {_where_it_acts(model)}",
            f"- {_which_bits(model, engine)}",
            "",
        ]
    lines.append(f'"Clear" means more than {CLEAR} standard errors of the difference.')
    return "\n".join(lines)


def verdict(row: dict[str, Any]) -> str:
    """A difference at the same total number of steps, in words."""
    difference, error = row["difference"], row["error"]
    if difference == 0:
        return "no difference"
    if abs(difference) <= CLEAR * error:
        return "no clear difference"
    return "a clear gain" if difference > 0 else "a clear loss"


def _where_it_pays(model: dict[str, Any]) -> str:
    gains = [row for row in model["same_total"] if verdict(row) == "a clear gain"]
    losses = [row for row in model["same_total"] if verdict(row) == "a clear loss"]
    all_rows = len(model["same_total"])
    if gains:
        best = max(gains, key=lambda row: row["difference"])
        pays = (
            f"Of {all_rows} settings with a probe, {len(gains)} are clearly better than plain "
            f"conversion of the same total (totals: {_numbers(row['total'] for row in gains)}), "
            f"at most by {best['difference']:.2f} % (tau {best['tau']}, T {best['T']})"
        )
    else:
        pays = (
            f"None of {all_rows} settings with a probe is clearly better than plain conversion of "
            f"the same total"
        )
    if losses:
        worst = min(losses, key=lambda row: row["difference"])
        return (
            f"{pays}; {len(losses)} are clearly worse "
            f"(totals: {_numbers(row['total'] for row in losses)}), at most by "
            f"{-worst['difference']:.2f} % (tau {worst['tau']}, T {worst['T']})."
        )
    return f"{pays}; none is clearly worse."


def _choice(model: dict[str, Any]) -> str:
    settings = [
        (int(tau) + T, int(tau), T, accuracy)
        for tau, row in model["accuracy"].items()
        for T, accuracy in enumerate(row, start=1)
    ]
    best = max(settings, key=lambda setting: (setting[3], -setting[0], -setting[1]))
    enough = best[3] - standard_error(best[3], model["images"])
    total, tau, T, accuracy = min(
        (setting for setting in settings if setting[3] >= enough),
        key=lambda setting: (setting[0], -setting[3], setting[1]),
    )
    return (
        f"Best of all: tau {best[1]}, T {best[2]} with {best[3]:.2f} %. The fewest steps within "
        f"one standard error of it: tau {tau}, T {T}, {total} in total, with {accuracy:.2f} %. "
        f"(Picked on the same images, so a little too good; "
        f"`residuum suggest {model['name']}` picks on training images.)"
    )


def _where_it_acts(model: dict[str, Any]) -> str:
    """The unevenness error after the first layer, and how often silencing is right."""
    layers = model["unevenness"]["layers"][1:]
    neurons = sum(layer["neurons"] for layer in layers)
    if neurons == 0:
        return "One hidden layer sees a constant image: there is no unevenness error."

    def share(shares: Iterable[dict[str, Any]], name: str) -> float:
        pairs = zip(shares, layers, strict=True)
        return sum(row[name] * layer["neurons"] for row, layer in pairs) / neurons

    plain = {case: share((layer["plain"] for layer in layers), case) for case in ERRORS}
    probed = {case: share((layer["srp"]["4"] for layer in layers), case) for case in ERRORS}
    largest = max(ERRORS, key=lambda case: plain[case])
    silenced = [layer["silenced"]["4"] for layer in layers]
    acted = share(silenced, "would have fired")
    right = share(
        [
            {"right": row["would have fired"] * (row["of those right"] or 0) / 100}
            for row in silenced
        ],
        "right",
    )
    rightly = f", {100 * right / acted:.0f} % of these rightly" if acted else ""
    return (
        f"After the first layer {sum(plain.values()):.1f} % of the neurons of plain conversion "
        f'(T 4) differ from the ANN, most in the case "{largest}" ({plain[largest]:.1f} %); with '
        f"tau 4 it is {sum(probed.values()):.1f} %. The probe silences {acted:.1f} % that would "
        f"have fired{rightly}."
    )


def _which_bits(model: dict[str, Any], engine: int) -> str:
    bits = model["bits"]
    weight = ", ".join(
        f"b = {row['bits']}{' fine-tuned' if row['fine_tuned'] else ''}: "
        f"{row['accuracy']['4,4']:.2f} %"
        for row in bits["weight"]
        if row["bits"] in (3, 4, 8)
    )
    fraction = ", ".join(
        f"f = {row['bits']}: {row['accuracy']['4,4']:.2f} %"
        for row in bits["fraction"]
        if row["bits"] in (0, 2, 4, 6)
    )
    used = max(row["used"] for row in bits["potentials"])
    bound = max(row["bound"] for row in bits["potentials"])
    return (
        f"At tau 4, T 4, {weight}; with 8-bit weights, {fraction}. With b = 8 and f = 4 potentials "
        f"take {used} bits on these images, {bound} at most, and the engine has {engine}."
    )


_METHOD = """
- **Plain** conversion (QCFS) runs T steps without a probe, tau = 0. **SRP** runs tau steps of
  probe and T of inference, tau + T in total. Only the logits of the inference count. The engine
  spends time on both, so the fair comparison is at the same total.
- Networks are the committed integer networks with 8-bit weights, unless stated otherwise.
  **ANN** is the float QCFS network before rounding, with the L of its training.
- All settings see the same images, so a difference of two settings is more certain than either
  accuracy: its standard error counts only the images on which the two disagree.
- The numbers are those of the golden model, from a simulator that shares the work of all
  settings (`sw/study/simulator.py`); tests hold every tau and T against the golden model.
"""

_ACCURACY = """
Percent of the images classified correctly. Rows are tau; T is the number of steps of inference, so
the total grows along a row and down a column. The row "ANN, L = T" is the network of the same
integers with the QCFS activation of T levels instead of spikes: what T steps would give without
unevenness.
"""

_TOTAL = """
Each difference is SRP less plain conversion with tau + T steps, in percent of the images, with
its standard error. An empty field: that total is not possible with T = 1 .. 8.
"""

_RESET = """
After a spike the engine subtracts the threshold: v <- v - TH. A *hard reset* discards the
remainder: v <- 0, or v <- V0, the start potential TH >> 1. The start is V0 in all three, tau =
0.
"""

_UNEVENNESS = """
A neuron of the ANN with L = T levels has a level q = 0 .. T; the spiking one fires N times in T
steps.
If input currents did not change from step to step, N = q would hold everywhere. The difference
is the unevenness error. Like the paper, this page splits it into four cases:

| case | |
|---|---|
| fires, ANN silent | N > q = 0: the most frequent in the paper, and what SRP is made for |
| fires too often | N > q > 0 |
| silent, ANN active | N = 0 < q |
| fires too rarely | 0 < N < q |

The ANN has the same integer weights, biases and thresholds as the spiking network, and L = T.
So rounding, quantization and clipping are equal on both sides, and the only difference is
unevenness: the layer's own and the part inherited from earlier layers. The column "own" excludes
the inherited part: it compares N with the level of the current that the neuron
really received. The first layer sees the constant image and has no error. Shares are percent of
all neurons of the layer, over all images; T = 4.

A silenced neuron was *rightly* silenced if q = 0. Many silenced neurons would have stayed
silent anyway, so those that would have fired are also counted separately: SRP has an effect only
on them.

Expectation: a neuron with v(T) < 0 has fired too often for its own input, and only such a
neuron (arithmetic.md). The input of the second layer is the same in probe and inference if tau
= T, so there SRP finds every neuron that fires too often. It silences them all, also those with
q > 0, which then are "silent, ANN active". Deeper layers get a different input in the
inference than in the probe, and if tau is not T the two stages differ in length: in these cases
the residual potential is only an estimate.
"""

_BITS = """
The float network is rounded to b bits and f fraction bits, without fine-tuning; the 4-bit
network that is fine-tuned is the committed one. The layer that sees pixels has f = 0 always.
"Potential, on data" is the bits that the potentials took on these images, v + I and v + I - TH
and the sums of the output layer included; "bound" is the bits that they can take with any input
in stages of up to 8 steps, which the compiler guarantees (`residuum summary`). Both are those
of the layer that needs most.
"""

_LIMITS = """
- The networks are small (a few layers) and each was trained once, with this project's recipe.
  What tau gains on them says little about VGG-16 or ResNet-34, where the errors of many layers
  add up.
- The accuracy tables show every tau; none was selected. The best entry of a table owes a part of
  its lead to chance.
- Weight bits and fraction bits are rounded after training; only the network marked
  "fine-tuned" was fine-tuned.
- All images are still: no event camera, no sequence.
"""


def _accuracy_table(model: dict[str, Any]) -> str:
    steps = list(range(1, 9))
    rows = [
        [f"tau {tau}" if tau != "0" else "plain (tau 0)", *(f"{value:.2f}" for value in row[:8])]
        for tau, row in model["accuracy"].items()
    ]
    rows.append(["ANN, L = T", *(f"{value:.2f}" for value in model["ann"]["rounded"][:8])])
    title = (
        f"{model['name']}: ANN {model['ann']['float']:.2f} % (float, L = {model['levels']}), plain "
        f"conversion with 16 steps {model['accuracy']['0'][15]:.2f} %."
    )
    return f"{title}\n\n" + table(["", *(f"T {T}" for T in steps)], rows)


def _total_table(model: dict[str, Any]) -> str:
    found = {(row["total"], row["tau"]): row for row in model["same_total"]}
    totals = sorted({row["total"] for row in model["same_total"]})
    rows = []
    for total in totals:
        cells = [
            f"{found[total, tau]['srp']:.2f} ({_difference(found[total, tau])})"
            if (total, tau) in found
            else ""
            for tau in _SHOWN_TAUS
        ]
        rows.append([str(total), f"{model['accuracy']['0'][total - 1]:.2f}", *cells])
    head = ["steps", "plain", *(f"tau {tau}" for tau in _SHOWN_TAUS)]
    return f"{model['name']}, {model['images']:,} images:\n\n" + table(head, rows)


def _reset_table(model: dict[str, Any]) -> str:
    names = {
        "subtraction": "subtraction, v - TH",
        "zero": "hard, to 0",
        "start": "hard, to V0",
    }
    rows = [
        [label, *(f"{value:.2f}" for value in model["reset"][reset])]
        for reset, label in names.items()
    ]
    return f"{model['name']}:\n\n" + table(["reset", *(f"T {T}" for T in range(1, 9))], rows)


def _unevenness_tables(model: dict[str, Any]) -> str:
    layers, taus = model["unevenness"]["layers"], model["unevenness"]["taus"]
    cases = []
    for layer in layers:
        for how in ("plain", *map(str, taus)):
            shares = layer["plain"] if how == "plain" else layer["srp"][how]
            own = layer["own"]
            cases.append(
                [
                    layer["name"] if how == "plain" else "",
                    "plain" if how == "plain" else f"tau {how}",
                    *(f"{shares[case]:.2f}" for case in CASES),
                    f"{sum(shares[case] for case in ERRORS):.2f}",
                    f"{own['too many']:.2f} / {own['too few']:.2f}" if how == "plain" else "",
                ]
            )
    silenced = []
    for layer in layers:
        for tau in map(str, taus):
            row = layer["silenced"][tau]
            silenced.append(
                [
                    layer["name"] if tau == str(taus[0]) else "",
                    tau,
                    f"{row['silenced']:.2f}",
                    _or_dash(row["of them right"]),
                    f"{row['would have fired']:.2f}",
                    _or_dash(row["of those right"]),
                ]
            )
    head = ["layer", "", *CASES, "all errors", "own: too many / too few"]
    silenced_head = [
        *("layer", "tau", "silenced", "rightly, of these"),
        *("silenced, would have fired", "rightly, of these"),
    ]
    return (
        f"{model['name']}, percent of the neurons of each layer:\n\n{table(head, cases)}\n\n"
        f"{model['name']}, silenced neurons:\n\n{table(silenced_head, silenced)}"
    )


def _bits_tables(model: dict[str, Any], engine: int) -> str:
    head = ["tau 0, T 4", "tau 0, T 8", "tau 4, T 4", "potential, on data", "bound"]

    def cells(row: dict[str, Any]) -> list[str]:
        accuracy = (f"{row['accuracy'][stage]:.2f}" for stage in ("0,4", "0,8", "4,4"))
        return [*accuracy, str(row["used"]), str(row["bound"])]

    weight = [
        [f"{row['bits']}{', fine-tuned' if row['fine_tuned'] else ''}", *cells(row)]
        for row in model["bits"]["weight"]
    ]
    fraction = [[str(row["bits"]), *cells(row)] for row in model["bits"]["fraction"]]
    layers = [
        [
            row["name"],
            f"{row['low']} .. {row['high']}",
            str(row["used"]),
            f"{row['bound low']} .. {row['bound high']}",
            str(row["bound"]),
            str(engine - row["bound"]),
        ]
        for row in model["bits"]["potentials"]
    ]
    layers_head = ["layer", "on data", "bits", "bound", "bits", f"left of the engine's {engine}"]
    return (
        f"{model['name']}, weight bits (f = 4):\n\n{table(['b', *head], weight)}\n\n"
        f"{model['name']}, fraction bits (b = 8):\n\n{table(['f', *head], fraction)}\n\n"
        f"{model['name']}, potentials with b = 8, f = 4:\n\n{table(layers_head, layers)}"
    )


def _published(models: Sequence[dict[str, Any]]) -> str:
    steps = (1, 2, 4, 8)
    rows = [
        [
            row.method,
            row.dataset,
            row.network,
            str(row.tau),
            _or_dash(row.ann),
            *(_or_dash(row.accuracy.get(T)) for T in steps),
            row.source,
        ]
        for row in PUBLISHED
    ]
    for model in models:
        for tau in (0, 4):
            values = (f"{model['accuracy'][str(tau)][T - 1]:.2f}" for T in steps)
            method = "SRP, here" if tau else "QCFS, here"
            rows.append(
                [
                    *(method, model["name"], "this project's", str(tau)),
                    *(f"{model['ann']['float']:.2f}", *values, "this page"),
                ]
            )
    head = ["method", "data set", "network", "tau", "ANN", *(f"T {T}" for T in steps), "source"]
    return f"""
As in the papers, T leaves the probe out: a row with tau = 4 takes 4 steps more than its T says.

{table(head, rows)}

They are not the same experiment. The published networks are far larger, were trained for
hundreds of epochs on GPUs and run in float; those here have a few layers, a penalty on
activity, images that are not normalised by mean and standard deviation, and weights of 8 bits,
because they must fit a small FPGA. Only the distance of a row from its own ANN, and the number of
steps to reach it, can be compared.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def _difference(row: dict[str, Any]) -> str:
    return f"{row['difference']:+.2f} ± {row['error']:.2f}"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _numbers(values: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(values))))
