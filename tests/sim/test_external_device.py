"""A simulated device with an SDRAM: its network is written once, and noticed when damaged."""

import numpy as np
import pytest

from residuum import open_device
from residuum.cli import main
from residuum.hw.isa.host_map import Pattern, Region
from residuum.sw.data.data_sets import load_dataset
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import simulate
from residuum.sw.host import external
from residuum.sw.host.check import check
from residuum.sw.host.classifier import Classifier
from residuum.sw.network.library import load_network

ADDRESS = "sim:lanes=16,sdram=512"
STEPS = {"tau": 4, "T": 4}


@pytest.fixture(scope="module")
def network():
    return load_network("digits")


@pytest.fixture
def classifier(network):
    with open_device(ADDRESS, network=network, steps=8) as device:
        yield Classifier(device, network, **STEPS)


def test_a_network_is_written_once_and_noticed_when_damaged(classifier, network):
    device, program = classifier.device, classifier.program
    assert external.held(device) is None
    assert classifier.differing_words() > 0
    before = device.sent
    assert not classifier.load()
    whole = device.sent - before
    images = np.random.default_rng(0).integers(0, 256, (2, *network.input_shape), np.uint8)
    golden = simulate(network, images, **STEPS)
    assert [found.prediction for found in classifier.classify(images)] == golden.prediction.tolist()
    assert check(classifier, images[:1]).mismatches == 0

    held = external.held(device)
    assert held is not None
    assert (held.name, held.intact, held.bursts) == ("digits", True, len(program.external) // 8)
    before = device.sent
    assert classifier.load()
    assert device.sent - before < whole / 4
    assert classifier.differing_words() == 0

    # One wrong bit.
    place = device.host_map.address(Region.EXTERNAL) + 100
    word = device.read(place, 1)
    device.write(place, word ^ np.uint32(1 << 17))
    assert not classifier.loaded
    with pytest.raises(ResiduumError, match="load\\(\\) it first"):
        classifier.classify(images)
    assert not external.holds(device, program)
    assert classifier.differing_words() == len(program.external) // 2
    held = external.held(device)
    assert held is not None
    assert not held.intact
    classifier.load()
    assert device.read(place, 1) == word


def test_an_interrupted_load_leaves_no_network(classifier):
    device = classifier.device

    def stop(words: int) -> None:
        raise KeyboardInterrupt

    classifier.load()
    other = np.roll(classifier.program.external, 8)
    changed = Classifier(device, classifier.program.network, **STEPS)
    object.__setattr__(changed.program, "external", other)
    with pytest.raises(KeyboardInterrupt):
        external.store(device, changed.program, done=stop)
    assert external.held(device) is None


def test_the_memory_test_of_a_device(classifier):
    classifier.load()
    found = external.test(classifier.device, Pattern.RANDOM, 64, seed=5)
    assert (found.errors, found.bits, found.place) == (0, "", "")
    assert not classifier.loaded


@pytest.mark.parametrize("one_request", [True, False])
def test_batches_give_the_answers_of_single_images(network, one_request, monkeypatch):
    images = load_dataset("digits").test_images[:7]
    golden = simulate(network, images, **STEPS)
    if not one_request:
        monkeypatch.setattr(Classifier, "one_request", False)
    with open_device(ADDRESS, network=network, steps=8) as device:
        batched = Classifier(device, network, **STEPS, batch=3)
        batched.load()
        found = batched.classify(images)
        assert [answer.prediction for answer in found] == golden.prediction.tolist()
        assert np.array_equal([answer.logits for answer in found], golden.logits)
        # The images of a batch share its cycles; the last batch is filled up.
        cycles = [answer.cycles for answer in found]
        assert cycles[0] == cycles[1] == cycles[2] != cycles[3]
        with pytest.raises(ResiduumError, match="trains of a batch cannot be read"):
            batched.trace(images[0])
        single = Classifier(device, network, **STEPS)
        assert not single.loaded
        # The weights are the same ones.
        assert single.load()
        assert cycles[0] < single.classify(images[0]).cycles


def test_a_batch_that_does_not_fit(capsys):
    command = ["run", "--model", "digits", "--device", ADDRESS, "--images", "2"]
    assert main([*command, "--batch", "99"]) == 1
    error = capsys.readouterr().err
    assert "digits does not fit sim:: digits does not run for 99 images at a time" in error
    assert main(["run", "--device", "golden:", "--batch", "2"]) == 1
    assert "--batch is for a device" in capsys.readouterr().err


def test_memtest_on_the_command_line(capsys):
    assert main(["memtest", "--device", ADDRESS, "--megabytes", "0.002"]) == 0
    printed = capsys.readouterr().out
    assert "0.002 MB of sim:: 0 wrong words in 6 patterns" in printed
    assert all(name in printed for name in external.PATTERNS)
    assert main(["memtest", "--device", "sim:lanes=16"]) == 1
    assert "has no external memory" in capsys.readouterr().err
    assert main(["memtest", "--device", ADDRESS, "--megabytes", "1000"]) == 1
    assert "at most 33.5544" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["nan", "inf", "0", "-1", "many", "1/0"])
def test_a_size_of_memory_is_a_positive_number(size, capsys):
    with pytest.raises(SystemExit):
        main(["memtest", "--device", ADDRESS, f"--megabytes={size}"])
    assert f"'{size}' is not a size in megabytes" in capsys.readouterr().err


def test_load_and_info_on_the_command_line(capsys):
    assert main(["load", "digits", "--device", ADDRESS]) == 0
    assert "13,056 bytes of weights in the external memory, which were written" in " ".join(
        capsys.readouterr().out.split()
    )
    assert main(["info", "--device", ADDRESS]) == 0
    assert "no network" in capsys.readouterr().out


def test_described_results():
    found = external.TestResult(3, 0b1001, 0x12, 0x00FF, 0x00FE)
    assert found.bits == "0, 3"
    assert found.place == "word 0x12: 0x00fe instead of 0x00ff"
