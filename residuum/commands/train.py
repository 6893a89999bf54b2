"""``residuum train``."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import (
    LARGEST_SEED,
    add_allow_modified,
    positive_number,
    whole_number,
)
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    import torch

    from residuum.sw.data.data_sets import Access, ImageSet
    from residuum.sw.network.float_network import FloatNetwork
    from residuum.sw.progress import Reporter
    from residuum.sw.train.models import ModelDefinition

DESCRIPTION = """\
Train a network (QCFS activation), convert it to integers with 8-bit and 4-bit weights, evaluate
both on the held-out images, and write a .npz file for each. An interrupted run resumes after the
last finished epoch."""
EXAMPLES = """\
examples:
  residuum train digits              8x8 handwritten digits, about a minute; needs no download
  residuum train mnist               28x28 handwritten digits, about 10 minutes
  residuum train fashion             28x28 clothes, about 20 minutes
  residuum train cifar10             32x32 colour photographs, about two hours
  residuum train mnist --bits 4      only the integer network with 4-bit weights
  residuum train mnist --activity-penalty 0.5    fewer spikes, for a faster engine
  residuum train digits --restart    discard the finished epochs of an earlier run
  residuum train digits --install    write to sw/zoo, the committed networks, not to build/zoo

deep networks, for 32x32 colour photographs (--data-set cifar10 or cifar100):
  residuum train resnet20 --data-set cifar10 --epochs 60     about a minute an epoch
  residuum train resnet18 --data-set cifar100 --minutes 30   in parts of half an hour
  residuum train vgg16 --data-set cifar10 --width 0.25       with a quarter of the channels
  residuum train resnet20 --data-set cifar10 --relu          ReLU instead of QCFS
  residuum train resnet20 --data-set cifar10 --from build/zoo/resnet20-relu-float.npz
                                     go on with the weights of a trained network

Times are for one core. A GPU that torch can use trains the deep networks much faster. Images are
read from the folder in the environment variable RESIDUUM_DATA, else downloaded once. All models but
digits are trained in bfloat16, or in float32 on a CPU without it, and need a C++ compiler.

Seeds are fixed and training uses one thread: the same command gives the same network on the same
kind of machine.
"""

# tau and T of the evaluation.
TAU, T = 4, 4
BITS = (8, 4)
# Models with a data set of their own, and models that are trained on a data set of one's choice.
SHALLOW = ("digits", "mnist", "fashion", "cifar10")
DEEP = ("resnet20", "resnet18", "vgg16")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"{', '.join(SHALLOW)}, {', '.join(DEEP)}")
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=0,
        metavar="N",
        help="seed of all random numbers (default %(default)s)",
    )
    parser.add_argument(
        "--epochs",
        type=positive_number,
        metavar="N",
        help="passes over the training images (default: by model; a quarter of it with --from)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="pause after the epoch that reaches N minutes; the same command goes on from there",
    )
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="FILE",
        help="start with the weights of a float network (.npz) or of a checkpoint (.pt)",
    )
    parser.add_argument(
        "--levels",
        type=positive_number,
        metavar="L",
        help="levels L of the QCFS activation (default: by model)",
    )
    parser.add_argument(
        "--relu",
        action="store_true",
        help="train with ReLU instead of QCFS; only the float network is written",
    )
    parser.add_argument(
        "--activity-penalty",
        type=float,
        metavar="X",
        help="weight of the mean activity in the loss, >= 0; a larger one gives fewer spikes "
        "(default: by model)",
    )
    _configure_deep(parser)
    parser.add_argument(
        "--bits",
        type=positive_number,
        nargs="+",
        default=BITS,
        metavar="N",
        help="weight bits of the integer networks, each 2 .. 16 (default 8 4)",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        help="where to train (default: cuda for a deep network, where there is a GPU)",
    )
    add_allow_modified(parser)
    parser.add_argument("--restart", action="store_true", help="do not resume an earlier run")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder for the networks (default build/zoo)"
    )
    place.add_argument("--install", action="store_true", help="write to sw/zoo")


def _configure_deep(parser: argparse.ArgumentParser) -> None:
    """The options of resnet20, resnet18 and vgg16 only."""
    deep = parser.add_argument_group("deep networks")
    deep.add_argument("--data-set", metavar="NAME", help="cifar10 or cifar100; must be given")
    deep.add_argument(
        "--shortcut",
        choices=("projection", "option-a"),
        help="shortcut where the channels change: 1x1 convolution, or every second position and "
        "channels of zeros (default projection)",
    )
    deep.add_argument(
        "--width", type=float, metavar="F", help="factor of all channel counts (default 1)"
    )
    deep.add_argument(
        "--augment",
        choices=("light", "strong"),
        help="change of the training images: crop, flip and a small cutout; or AutoAugment and a "
        "large cutout too (default: by model)",
    )


def run(args: argparse.Namespace) -> int:
    from residuum.sw.files import build_folder, shown

    definition = _definition(args)
    checkpoint = build_folder() / "train" / f"{definition.name}.pt"
    try:
        _run(args, definition, checkpoint)
    except KeyboardInterrupt:
        kept = "no epoch was finished, so nothing is kept"
        if checkpoint.exists():
            command = "same command without --restart" if args.restart else "same command"
            kept = (
                f"the finished epochs of the training are kept in {shown(checkpoint)}, and the "
                f"{command} goes on from there"
            )
        raise KeyboardInterrupt(kept) from None
    return 0


def _run(args: argparse.Namespace, definition: "ModelDefinition", checkpoint: Path) -> None:
    import torch

    from residuum.sw.convert.balance import balanced
    from residuum.sw.data.data_sets import load_dataset
    from residuum.sw.files import build_folder, checkout, require_writable, shown
    from residuum.sw.network.library import ZOO, float_file
    from residuum.sw.train.fine_tuning import float_accuracy
    from residuum.sw.train.folding import fold
    from residuum.sw.train.training import Paused, need_compiler, train

    _check(args)
    need_compiler(definition)
    # The number of threads changes the order of sums, and so the last bits of a weight.
    torch.set_num_threads(1)
    device = _device(args)
    access = _access(args)
    data, reporter = load_dataset(definition.dataset, access), access.reporter
    if args.install and checkout() is None:
        raise ResiduumError("--install writes to sw/zoo of a checkout; give --out instead")
    folder = ZOO if args.install else args.out or build_folder() / "zoo"
    path = float_file(definition.name, folder)
    for file in (path, checkpoint):
        require_writable(file)
    if args.restart:
        checkpoint.unlink(missing_ok=True)
    how = {"start": args.start, "device": device, "reporter": reporter}
    if args.minutes is not None:
        how["minutes"] = args.minutes
    try:
        trained = train(definition, data, seed=args.seed, checkpoint=checkpoint, **how)
    except Paused as paused:
        print(f"{definition.name}: {paused} are finished; the same command goes on from there")
        return
    network = fold(trained)
    if network.levels is not None:
        network = balanced(network, data.train_images, levels=network.levels)
    accuracy = f"{100 * float_accuracy(network, data.test_images, data.test_labels):.2f} %"
    activation = "ReLU" if definition.relu else "QCFS"
    print(f"{definition.name}: {accuracy} before conversion (float {activation} network)")
    facts = _facts(definition, accuracy)
    facts |= {**network.metadata, "command": command_line(args, BITS[0])}
    network = replace(network, metadata=facts)
    network.save(path)
    print(f"written: {shown(path)}")
    if not definition.relu:
        _convert(args, definition, network, data, folder, device, reporter)


def _convert(
    args: argparse.Namespace,
    definition: "ModelDefinition",
    network: "FloatNetwork",
    data: "ImageSet",
    folder: Path,
    device: "torch.device",
    reporter: "Reporter",
) -> None:
    """Write and evaluate the integer network of each number of bits."""
    from residuum.sw.files import build_folder, shown
    from residuum.sw.golden.accuracy import describe, evaluate
    from residuum.sw.network.library import zoo_file
    from residuum.sw.train.fine_tuning import integers

    for bits in args.bits:
        metadata = {**network.metadata, "command": command_line(args, bits)}
        checkpoint = build_folder() / "train" / f"{definition.name}-{bits}bit.pt"
        if args.restart:
            checkpoint.unlink(missing_ok=True)
        how = {"bits": bits, "seed": args.seed, "checkpoint": checkpoint, "device": device}
        integer = integers(network, definition, data, **how, metadata=metadata, reporter=reporter)
        tally = evaluate(
            integer, data.test_images, data.test_labels, tau=TAU, T=T, reporter=reporter
        )
        print(describe(integer, tally, TAU, T))
        path = zoo_file(definition.name, bits, folder)
        integer.save(path)
        print(f"written: {shown(path)}")


class _Lines:
    """Reports on standard error where there is no ``rich``: a machine that is lent for a training
    may have torch, numpy and Pillow only."""

    def __init__(self) -> None:
        from residuum.sw.progress import SILENT

        self.task = SILENT.task

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def _access(args: argparse.Namespace) -> "Access":
    from residuum.sw.data.data_sets import Access

    try:
        from residuum.commands.console import data_access
    except ModuleNotFoundError:
        return Access(args.allow_modified, _Lines())
    return data_access(args)


def _check(args: argparse.Namespace) -> None:
    """``ResiduumError`` for a number that is out of its range."""
    from residuum.sw.network.integer_network import MAX_WEIGHT_BITS, MIN_WEIGHT_BITS

    for bits in args.bits:
        if not MIN_WEIGHT_BITS <= bits <= MAX_WEIGHT_BITS:
            raise ResiduumError(
                f"--bits must be {MIN_WEIGHT_BITS} .. {MAX_WEIGHT_BITS}, not {bits}"
            )
    if args.seed > LARGEST_SEED:
        raise ResiduumError(f"--seed must be at most {LARGEST_SEED}, not {args.seed}")
    if args.minutes is not None and not args.minutes > 0:
        raise ResiduumError(f"--minutes must be positive, not {args.minutes:g}")


def _device(args: argparse.Namespace) -> "torch.device":
    """The device to train on: for shallow networks the CPU, on which they are reproducible."""
    import torch

    there = torch.cuda.is_available()
    if args.device == "cuda" and not there:
        raise ResiduumError("--device cuda needs a GPU that torch can use, and there is none")
    return torch.device(args.device or ("cuda" if there and args.model in DEEP else "cpu"))


def _facts(definition: "ModelDefinition", accuracy: str) -> dict[str, str]:
    """Metadata of all files of a training."""
    import torch

    from residuum.sw.data.data_sets import dataset

    return {
        "dataset": definition.dataset,
        "dataset licence": dataset(definition.dataset).licence,
        "licence": "Apache-2.0",
        "accuracy of the float network": accuracy,
        "torch": torch.__version__,
    }


def command_line(args: argparse.Namespace, bits: int) -> str:
    """The command that reproduces the network with ``bits``-bit weights, with relevant options
    only."""
    words = ["residuum", "train", args.model]
    if args.data_set is not None:
        words += ["--data-set", args.data_set]
    words += ["--seed", str(args.seed)]
    for name in ("epochs", "levels", "activity_penalty", "shortcut", "width", "augment"):
        if (value := getattr(args, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    if args.relu:
        words.append("--relu")
    if args.start is not None:
        words += ["--from", args.start.name]
    if bits not in BITS:
        words += ["--bits", str(bits)]
    return " ".join(words)


def _definition(args: argparse.Namespace) -> "ModelDefinition":
    """The network that the options describe."""
    from residuum.sw.train.deep import AUGMENTATIONS, deep_definition
    from residuum.sw.train.models import model_definition, with_relu

    given = {name: getattr(args, name) for name in ("shortcut", "width", "levels")}
    options = {name: value for name, value in given.items() if value is not None}
    if args.model not in (*SHALLOW, *DEEP):
        known = ", ".join(sorted((*SHALLOW, *DEEP)))
        raise ResiduumError(
            f"there is no model {args.model!r} to train; the known models are {known}"
        )
    if args.model in DEEP:
        if args.data_set is None:
            raise ResiduumError(f"{args.model} needs --data-set cifar10 or --data-set cifar100")
        definition = deep_definition(args.model, args.data_set, relu=args.relu, **options)
        if args.augment is not None:
            recipe = replace(definition.recipe, augmentation=AUGMENTATIONS[args.augment])
            definition = replace(definition, recipe=recipe)
    else:
        definition = model_definition(args.model)
        for name in ("data_set", "shortcut", "width", "augment"):
            if getattr(args, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise ResiduumError(f"{option} is for {', '.join(DEEP)}, not for {args.model}")
        if args.levels is not None:
            definition = replace(definition, levels=args.levels)
        if args.relu:
            definition = with_relu(definition)
    return _changed(definition, args)


def _changed(definition: "ModelDefinition", args: argparse.Namespace) -> "ModelDefinition":
    """The definition with another recipe, as the options say."""
    penalty, recipe = args.activity_penalty, definition.recipe
    if args.start is not None:
        recipe = recipe.continued
    if args.epochs is not None:
        recipe = replace(recipe, epochs=args.epochs)
    if penalty is not None:
        if not 0 <= penalty < float("inf"):
            raise ResiduumError(f"--activity-penalty must be at least 0, not {penalty}")
        if penalty and args.relu:
            raise ResiduumError("--activity-penalty is for QCFS, not for --relu")
        recipe = replace(recipe, activity_penalty=penalty)
    return replace(definition, recipe=recipe)
