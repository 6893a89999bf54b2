"""``residuum import``."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import (
    LARGEST_SEED,
    add_allow_modified,
    add_correction,
    engines_of,
    image_count,
    positive_number,
    positive_quantity,
    whole_number,
)
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    from residuum.sw.data.data_sets import Access
    from residuum.sw.data.images import Images
    from residuum.sw.frontend.models import Model
    from residuum.sw.importing.choice import Engines
    from residuum.sw.importing.ladder import Rung, Step
    from residuum.sw.importing.pipeline import Imported, Options
    from residuum.sw.network.float_network import FloatNetwork
    from residuum.sw.network.graph import Preprocessing
    from residuum.sw.network.integer_network import IntegerNetwork
    from residuum.sw.progress import Reporter

DESCRIPTION = """\
Take in a trained classifier from PyTorch, ONNX or NIR, or a float network of this project, and
convert it to an integer network. Prints the accuracy after every step of the way, names the layers
that lose it, and writes the network. No training is needed."""
EXAMPLES = """\
examples:
  residuum import mynet.py:make --weights mynet.pt --data photos/ -o mynet.npz
        the function make() in mynet.py returns the torch.nn.Module; the folder photos/ has a
        sub-folder of pictures per class
  residuum import mynet.py:make --weights mynet.pt --data cifar10 \\
        --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 --bits 4
        the model wants (u/255 - mean) / std; 4-bit weights
  residuum import exported.pt2 --data photos/ --size 64
  residuum import mnist-12.onnx --data mnist -o lenet.npz
  residuum import model.nir --reset subtract --code rate --T 16 --data events.npz -o snn.npz
  residuum import mynet-float.npz --data photos/ --bits 5 -o mynet-5bit.npz
        the float network that an earlier import, or a training, wrote
  residuum import mynet-float.npz --data photos/ --board ulx3s -o mynet.npz
        the widest weights and the largest numbers that fit the board

then:
  residuum fit mynet.npz                       the boards that it fits
  residuum eval mynet.npz --data photos/       its accuracy
  residuum explain mynet.npz --data photos/    what each layer loses
"""
# Images of the ladder, unless the user says otherwise.
LADDER_IMAGES = 1000
# Bits of the weights without --bits and --board, and those that others are compared with.
BITS = 8
# Bits of the potential of the largest engine.
LARGEST_POTENTIAL = 32


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="MODEL",
        help="FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION that returns a torch.nn.Module, or a "
        "file .pt2 (torch.export), .onnx or .nir, or a float network of this project (.npz)",
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="state_dict of the module, saved by torch.save"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the network (default NAME.npz)"
    )
    parser.add_argument("--name", help="name of the network (default: from MODEL)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the ladder to a file")
    _configure_data(parser.add_argument_group("pictures"))
    add_allow_modified(parser)
    _configure_integers(parser.add_argument_group("integers"))
    _configure_nir(parser.add_argument_group("NIR files"))


def _configure_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data",
        metavar="SOURCE",
        help="a known data set (mnist, cifar10, ...), a folder with a sub-folder of pictures per "
        "class, or an .npz file",
    )
    group.add_argument(
        "--size",
        type=_size,
        metavar="N or HxW",
        help="scale pictures to this size (default: the size that they, or the model, have)",
    )
    group.add_argument(
        "--crop",
        type=_size,
        metavar="N or HxW",
        help="then cut this out of the centre",
    )
    group.add_argument(
        "--interpolation",
        choices=("nearest", "bilinear", "bicubic"),
        default="bilinear",
        help="of the scaling (default %(default)s)",
    )
    group.add_argument(
        "--channels",
        choices=("grey", "RGB", "BGR"),
        help="channels that the model reads (default: those of the pictures)",
    )
    group.add_argument(
        "--scale",
        type=_scale,
        metavar="X",
        help="the model reads (u*X - mean) / std for pixels u = 0..255; default 1/255, or 1 if "
        "that is more accurate on the calibration images",
    )
    for option in ("--mean", "--std"):
        group.add_argument(
            option, type=float, nargs="+", metavar="X", help="one for all channels, or one for each"
        )
    group.add_argument(
        "--calibrate",
        type=positive_number,
        default=512,
        metavar="N",
        help="training images on which ranges and rounding are chosen (default %(default)s)",
    )
    group.add_argument(
        "--images",
        type=image_count,
        default=LADDER_IMAGES,
        metavar="N",
        help="held-out images of the ladder, or all (default %(default)s)",
    )


def _configure_integers(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--bits",
        type=_between(2, 8),
        metavar="N",
        help=f"bits of a weight, 2 .. 8 (default {BITS}, or the most that fit --board)",
    )
    group.add_argument(
        "--bits-per-activation",
        type=_between(1, 8),
        metavar="K",
        help="bits of a number in a map in radix code, 1 .. 8 (default 6, or the most that fit "
        "--board)",
    )
    group.add_argument(
        "--code",
        choices=("radix", "rate"),
        default="radix",
        help="radix: numbers of K bits, for any ReLU network; rate: spikes over tau + T steps, for "
        "networks trained with QCFS (default %(default)s)",
    )
    group.add_argument("--tau", type=whole_number, help="probe steps of rate code (default 0)")
    group.add_argument("--T", type=positive_number, help="inference steps of rate code (default 8)")
    add_correction(group)
    group.add_argument(
        "--potential-bits",
        type=_between(8, 40),
        metavar="N",
        help="bits of the membrane potential of the engine (default 24, or those of --board)",
    )
    group.add_argument(
        "--board",
        metavar="BOARD",
        help="choose the widest weights and the largest numbers with which the network fits this "
        "board (see `residuum boards`)",
    )
    group.add_argument(
        "--preset",
        metavar="PRESET",
        help="with --board: this engine, instead of the best of those for the board",
    )
    group.add_argument(
        "--fine-tune",
        type=positive_number,
        default=0,
        metavar="EPOCHS",
        help="train on with rounded weights and activations",
    )
    group.add_argument(
        "--seed",
        type=_between(0, LARGEST_SEED),
        default=0,
        metavar="N",
        help="of the fine-tuning (default %(default)s)",
    )
    group.add_argument(
        "--augment",
        action="store_true",
        help="shift and mirror the pictures in the fine-tuning: for photographs",
    )
    group.add_argument("--restart", action="store_true", help="discard an earlier fine-tuning")
    group.add_argument(
        "--nearest",
        action="store_true",
        help="round each weight to the nearest, without compensation",
    )


def _configure_nir(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--reset",
        metavar="HOW",
        help="the reset of the neurons, which the file cannot say: subtract",
    )
    group.add_argument(
        "--start",
        choices=("half", "zero"),
        help="the start potential: half of the threshold, or zero (default: zero, or what a file "
        "that residuum exported says)",
    )


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import data_access, say_written, write_report
    from residuum.sw.files import require_writable
    from residuum.sw.frontend.models import open_model
    from residuum.sw.importing.pipeline import ladder
    from residuum.sw.network.library import FLOAT_NETWORK, float_file

    options = _options(args)
    engines = _engines(args)
    access = data_access(args)
    model = open_model(args.source, weights=args.weights, reset=args.reset, start=args.start)
    output = args.output or _output(args, model, options)
    if output.suffix != ".npz":
        raise ResiduumError(f"the network is an .npz file; -o names {output}")
    floats, shared = _float_file(args, model, output)
    for path in (output, *([] if shared else [floats]), args.json):
        if path is not None:
            require_writable(path)
    network, calibration = _float_network(args, model, access)
    say = access.reporter.say
    for note in network.metadata.get("notes", "").split("; "):
        if note:
            say(f"note: {note}")

    work = _Work(args, model, network, calibration, output, access)
    options, imported = work.convert(options, engines)
    integers = imported.conversion.network
    held_out = _load(args, network, access, split="held-out", at_most=args.images)
    if held_out is not None:
        chosen = engines is not None and args.bits is None
        wider = work.wider(options) if chosen and options.bits < BITS else None
        rungs = ladder(
            imported,
            options,
            held_out.images,
            held_out.labels,
            before=_given(model, network),
            beside=wider,
            reporter=access.reporter,
        )
        _print_ladder(rungs, held_out)
        if wider is not None:
            lost = 100 * (rungs[-1].share - rungs[-2].share)
            print(
                f"weights of {options.bits} bits cost {lost:.2f} % of the images, against weights "
                f"of {BITS} bits"
            )
        if args.json is not None:
            write_report(args.json, _report(integers.name, rungs, held_out))
    _print_losses(imported)
    if floats != float_file(str(output)):
        integers = replace(integers, metadata={**integers.metadata, FLOAT_NETWORK: floats.name})
    integers.save(output)
    if not shared:
        imported.calibrated.save(floats)
    say_written(output, *([] if shared else [floats]))
    print(f"next: residuum fit {shlex.quote(str(output))}")
    return 0


def _output(args: argparse.Namespace, model: Model, options: Options) -> Path:
    """The file of the network, unless the user names it."""
    name = args.name or model.name
    if not model.finished:
        return Path(f"{name}.npz")
    # Several widths of a float network may stand side by side.
    return Path(f"{name}-{args.board or f'{options.bits}bit'}.npz")


def _float_file(args: argparse.Namespace, model: Model, output: Path) -> tuple[Path, bool]:
    """The file of the float network beside the integers, and whether it is the one that came in and
    stays as it is."""
    from residuum.sw.network.library import float_file

    usual, source = float_file(str(output)), Path(args.source)
    if not model.finished:
        return usual, False
    if not (args.fine_tune or model.measured) and _same(source.parent, output.parent):
        return output.with_name(source.name), True
    if not _same(source, usual):
        return usual, False
    other = output.with_name(f"{output.stem}-float.npz")
    if _same(source, other):
        raise ResiduumError(
            f"this would write another float network over {source}; name another file with -o"
        )
    return other, False


def _same(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()


class _Work:
    """The conversion of one model, with several widths."""

    def __init__(
        self,
        args: argparse.Namespace,
        model: Model,
        network: FloatNetwork,
        calibration: Images | None,
        output: Path,
        access: Access,
    ) -> None:
        from residuum.sw.files import build_folder, require_writable

        self.args, self.network, self.reporter = args, network, access.reporter
        self.images = None if calibration is None else calibration.images
        self.exact = model.integers(args.name)
        self.training: Images | None = None
        self.checkpoint: Path | None = None
        if args.fine_tune:
            self.training = _load(args, network, access, split="training")
            self.checkpoint = build_folder() / "import" / f"{output.stem}.pt"
            require_writable(self.checkpoint)
            if args.restart:
                self.checkpoint.unlink(missing_ok=True)

    def convert(self, options: Options, engines: Engines | None) -> tuple[Options, Imported]:
        """The import; with ``engines``, of the widest weights that fit them."""
        if engines is None:
            return options, self.imported(options)
        from residuum.sw.importing.choice import Rough, choose, widths

        if self.exact is not None:
            raise ResiduumError(
                f"{self.args.source} has its integers already, so --board has nothing to choose; "
                "see `residuum fit`"
            )
        args = self.args
        tried = widths(options.code, args.bits, args.bits_per_activation)
        rough = Rough(self.calibrated(options), options)
        choice, imported = choose(rough, engines, tried, self.rounded)
        self.reporter.say(f"{engines.board} holds {choice}")
        if choice.options.fine_tune:
            imported = self.imported(choice.options)
            for need in engines.exceeded(choice.preset, imported.conversion.network):
                raise ResiduumError(
                    f"{need.sentence} after the fine-tuning; give fewer --bits or "
                    "--bits-per-activation"
                )
        return choice.options, imported

    def calibrated(self, options: Options) -> FloatNetwork:
        from residuum.sw.convert.calibrate import calibrate

        if self.images is None:
            return self.network
        return calibrate(self.network, self.images, bits=options.map_bits, reporter=self.reporter)

    def rounded(self, options: Options) -> Imported:
        """Without fine-tuning."""
        return self.imported(replace(options, fine_tune=0))

    def wider(self, options: Options) -> IntegerNetwork:
        """With weights of `BITS` bits, for an engine of any width."""
        wide = replace(options, bits=BITS, potential_bits=LARGEST_POTENTIAL)
        return self.rounded(wide).conversion.network

    def imported(self, options: Options) -> Imported:
        from residuum.sw.importing.pipeline import to_integers

        try:
            return to_integers(
                self.network,
                options,
                calibration=self.images,
                training=self.training,
                checkpoint=self.checkpoint,
                exact=self.exact,
                metadata={"command": _command_line(self.args, options)},
                reporter=self.reporter,
            )
        except KeyboardInterrupt:
            if self.checkpoint is not None and self.checkpoint.exists():
                raise KeyboardInterrupt(
                    f"the finished epochs are kept in {self.checkpoint}, and the same command goes "
                    "on there"
                ) from None
            raise


def _engines(args: argparse.Namespace) -> Engines | None:
    """The engines of ``--board``."""
    from residuum.boards.catalogue import find

    if args.board is None:
        if args.preset is not None:
            raise ResiduumError("--preset goes with --board")
        return None
    if args.potential_bits is not None:
        raise ResiduumError("the bits of the potential are those of --board; leave one of them out")
    return engines_of(find(args.board), args.preset)


def _given(model: Model, network: FloatNetwork) -> list[Step]:
    """The model in its own framework, as the first step."""
    from residuum.sw.importing.ladder import Step

    predict = model.predictor(network.preprocessing)
    return [] if predict is None else [Step("float, as given", predict)]


def _options(args: argparse.Namespace) -> Options:
    from residuum.sw.importing.pipeline import Options

    given = (args.tau, args.T, args.correction)
    if args.code == "radix" and given != (None, None, None):
        raise ResiduumError(
            "--tau, --T and --correction are for rate code; give --code rate with them, or leave "
            "them out"
        )
    if args.code == "rate" and args.bits_per_activation is not None:
        raise ResiduumError(
            "--bits-per-activation is of radix code; in rate code, --T sets the levels"
        )
    standard = Options()
    return Options(
        bits=args.bits or BITS,
        code=args.code,
        map_bits=args.bits_per_activation or standard.map_bits,
        tau=standard.tau if args.tau is None else args.tau,
        T=args.T or standard.T,
        correction=args.correction,
        potential_bits=args.potential_bits or standard.potential_bits,
        compensate=not args.nearest,
        fine_tune=args.fine_tune,
        seed=args.seed,
        augment=args.augment,
    )


def _float_network(
    args: argparse.Namespace, model: Model, access: Access
) -> tuple[FloatNetwork, Images | None]:
    """The float network, and the calibration images."""
    from residuum.sw.data.data_sets import DATASETS
    from residuum.sw.data.images import load_images

    metadata = {"dataset": args.data} if args.data in DATASETS else {}
    if model.spikes:
        assert model.input_shape is not None
        return model.network(input_shape=model.input_shape, name=args.name), None
    if args.data is None:
        raise ResiduumError(
            "the ranges of the activations are measured on images: name them with --data"
        )
    if model.finished:
        _refuse_preparation(args)
        assert model.input_shape is not None
        network = model.network(input_shape=model.input_shape, name=args.name, metadata=metadata)
        return network, load_images(
            args.data, network, split="training", at_most=args.calibrate, access=access
        )
    calibration = load_images(
        args.data,
        split="training",
        at_most=args.calibrate,
        shape=model.input_shape,
        preprocessing=_preprocessing(args, None),
        access=access,
    )
    shape = calibration.images.shape[1:]
    networks = {
        scale: model.network(
            input_shape=shape,
            preprocessing=_preprocessing(args, shape, scale),
            name=args.name,
            class_names=calibration.class_names,
            metadata=metadata,
        )
        for scale in _scales(args, calibration)
    }
    return _most_accurate(networks, calibration, access.reporter), calibration


def _refuse_preparation(args: argparse.Namespace) -> None:
    """A float network says already how pictures are prepared."""
    defaults = _defaults()
    for key in ("size", "crop", "interpolation", "channels", "scale", "mean", "std"):
        if getattr(args, key) != defaults[key]:
            raise ResiduumError(
                f"{args.source} says already how a picture becomes its input; leave out --{key}"
            )


def _scales(args: argparse.Namespace, calibration: Images) -> list[float]:
    """The scales to try: models disagree on pixels of 0..1 and of 0..255."""
    if args.scale is not None:
        return [args.scale]
    tried = calibration.labels is not None and args.mean is None and args.std is None
    return [1 / 255, 1.0] if tried else [1 / 255]


def _most_accurate(
    networks: dict[float, FloatNetwork], calibration: Images, reporter: Reporter
) -> FloatNetwork:
    import numpy as np

    from residuum.sw.importing.ladder import ann

    if len(networks) == 1:
        return next(iter(networks.values()))
    shares = {
        scale: float(
            (np.concatenate(list(ann(network)(calibration.images))) == calibration.labels).mean()
        )
        for scale, network in networks.items()
    }
    # The first, 1/255, also wins a tie.
    best = max(shares, key=lambda scale: shares[scale])
    if best == 1.0:
        reporter.say(
            f"the model reads pixels of 0..255 (--scale 1): it knows {shares[1.0]:.1%} of the "
            f"calibration images, and {shares[1 / 255]:.1%} with pixels of 0..1"
        )
    return networks[best]


def _preprocessing(
    args: argparse.Namespace, shape: tuple[int, int, int] | None, scale: float = 1 / 255
) -> Preprocessing:
    from residuum.sw.network.graph import Preprocessing

    channels = args.channels or ""
    if not channels and shape is not None:
        channels = {1: "grey", 3: "RGB"}.get(shape[0], "")
    count = shape[0] if shape is not None else 0
    return Preprocessing(
        size=args.size,
        crop=args.crop,
        interpolation=args.interpolation,
        channels=channels,
        scale=scale,
        mean=_per_channel("--mean", args.mean, count),
        std=_per_channel("--std", args.std, count),
    )


def _per_channel(option: str, values: list[float] | None, channels: int) -> tuple[float, ...]:
    if values is None or not channels:
        return ()
    if len(values) not in (1, channels):
        raise ResiduumError(
            f"{option} has {len(values)} values for {channels} channels; give one for all or one "
            "for each"
        )
    return tuple(values) * (channels // len(values))


def _load(
    args: argparse.Namespace,
    network: FloatNetwork,
    access: Access,
    *,
    split: str,
    at_most: int | None = None,
) -> Images | None:
    from residuum.sw.data.images import load_images

    if args.data is None:
        return None
    return load_images(args.data, network, split=split, at_most=at_most, access=access)


def _print_ladder(rungs: list[Rung], held_out: Images) -> None:
    from residuum.commands.tables import print_records

    what = "right" if held_out.labels is not None else "as the first"
    records, before = [], None
    for rung in rungs:
        change = "" if before is None else f"{100 * (rung.share - before):+.2f}"
        records.append({"step": rung.name, what: f"{100 * rung.share:.2f} %", "change": change})
        before = rung.share
    title = f"{len(held_out)} held-out images of {held_out.source}"
    print_records(records, title=title, numbers=(what, "change"))
    for rung in rungs:
        if rung.losers:
            names = ", ".join(f"{name} ({100 * lost:.1f} %)" for name, lost in rung.losers)
            print(f"{rung.name}: most is lost in {names}")
        if rung.cure:
            print(f"{rung.name}: to lose less, try {rung.cure}")


def _print_losses(imported: Imported) -> None:
    """Channels that the rounding silences, by layer."""
    for loss in imported.conversion.losses:
        if loss.silent:
            print(
                f"layer {loss.name!r}: the weights of {len(loss.silent)} of {len(loss.error)} "
                "channels are too small for their unit and became 0"
            )


def _report(name: str, rungs: list[Rung], held_out: Images) -> dict[str, object]:
    return {
        "model": name,
        "data": held_out.source,
        "images": len(held_out),
        "labels": held_out.labels is not None,
        "rungs": [
            {
                "name": rung.name,
                "percent": round(100 * rung.share, 4),
                "losers": [
                    {"layer": layer, "percent": round(100 * lost, 4)} for layer, lost in rung.losers
                ],
            }
            for rung in rungs
        ],
    }


def _command_line(args: argparse.Namespace, options: Options) -> str:
    """The command that makes the network again, with the options that matter for it; widths that
    were chosen for a board stand in its place."""
    words = ["residuum", "import", args.source]
    left_out = {"source", "run", "output", "json", "images", "restart", "allow_modified"}
    given = dict(vars(args))
    if args.board is not None:
        left_out |= {"board", "preset"}
        given |= {"bits": options.bits, "potential_bits": options.potential_bits}
        if options.code == "radix":
            given["bits_per_activation"] = options.map_bits
    for key, value in given.items():
        if key in left_out or value in (None, False, 0) or value == _defaults().get(key):
            continue
        option = f"--{key.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, tuple):
            words += [option, "x".join(map(str, value))]
        else:
            words += [option, *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def _defaults() -> dict[str, object]:
    parser = argparse.ArgumentParser()
    configure(parser)
    return {action.dest: action.default for action in parser._actions}


def _size(text: str) -> tuple[int, int]:
    """N or HxW for argparse."""
    parts = text.lower().split("x")
    try:
        sizes = [int(part) for part in parts]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or min(sizes, default=0) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give N or HxW, such as 64 or 48x64")
    return sizes[0], sizes[-1]


def _scale(text: str) -> float:
    """The scale of a model for argparse."""
    return positive_quantity(text, "a scale, such as 1/255")


def _between(smallest: int, largest: int) -> Callable[[str], int]:
    """A whole number in a range for argparse."""

    def number(text: str) -> int:
        value = whole_number(text)
        if not smallest <= value <= largest:
            raise argparse.ArgumentTypeError(f"{value} is not in {smallest} .. {largest}")
        return value

    return number
