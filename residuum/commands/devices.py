"""Common functions of the commands that use a device."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from residuum.commands.arguments import stages
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    from residuum.sw.host.classifier import Classifier
    from residuum.sw.host.device import Device
    from residuum.sw.network.integer_network import IntegerNetwork
    from residuum.sw.progress import Reporter


def open_device(
    address: str,
    reporter: Reporter,
    *,
    network: IntegerNetwork | None = None,
    steps: int | None = None,
) -> Device:
    """The device at an address; builds a simulated device for the network and steps."""
    from residuum import api

    doing = "building the simulated engine" if address.startswith("sim:") else "looking for"
    with reporter.task(f"{doing} {address}"):
        return api.open_device(address, network=network, steps=steps)


def prepare(
    device: Device, network: IntegerNetwork, args: argparse.Namespace, reporter: Reporter
) -> Classifier:
    """A classifier whose network is in the device: loads it, or with ``--loaded`` verifies it."""
    classifier = compiled(device, network, args, reporter)
    if not args.loaded:
        load(classifier, reporter)
        return classifier
    words = classifier.program.load_words
    with reporter.task(f"checking {network.name}", total=words, unit="words") as task:
        if differing := classifier.differing_words(done=task.advance):
            raise ResiduumError(
                f"{device.link.name} does not hold {network.name}: {differing} of {words} words "
                f"differ{bitstream_note(classifier)}; leave --loaded out to load it"
            )
    return classifier


def compiled(
    device: Device, network: IntegerNetwork, args: argparse.Namespace, reporter: Reporter
) -> Classifier:
    """A classifier of the stages of a command; with ``--batch``, if the command has it, for so many
    images at a time."""
    from residuum.sw.host.classifier import Classifier

    with reporter.task(f"compiling {network.name}"):
        return Classifier(device, network, **stages(args), batch=getattr(args, "batch", 1))


def load(classifier: Classifier, reporter: Reporter) -> bool:
    """Write the network of a classifier into its device; see `Classifier.load`."""
    program = classifier.program
    with reporter.task(
        f"loading {program.network.name}", total=program.load_words, unit="words"
    ) as task:
        return classifier.load(done=task.advance)


def bitstream_note(classifier: Classifier) -> str:
    """What the bitstream of the device held at power-up, by the digest in its identity; empty for a
    device without one, such as a simulated one."""
    from residuum.hw.isa.contents import CONTENTS_DIGEST_BYTES, contents_digest

    identity, program = classifier.device.identity, classifier.program
    if not any(identity.digest):
        return ""
    writes = dict(zip(program.addresses.tolist(), program.words.tolist(), strict=True))
    held = identity.digest[-CONTENTS_DIGEST_BYTES:]
    if held == contents_digest(writes):
        return " since power-up, although its bitstream has it"
    if not any(held):
        return ", and its bitstream has no network"
    return f", and its bitstream has {identity.name} (digest {held.hex()})"


def describe_device(device: Device) -> str:
    """The device in a few words."""
    identity = device.identity
    config = identity.config
    return (
        f"device {device.link.name}, {config.lanes} lanes x {config.steps} steps, "
        f"{identity.clock_hz / 1e6:g} MHz"
    )
