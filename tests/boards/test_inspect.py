"""What ``residuum inspect`` reads back from a bitstream, packed and unpacked by the tools."""

from dataclasses import replace

import numpy as np
import pytest

from residuum.boards.build import bitstream, toolchain
from residuum.boards.build.memories import memories_of
from residuum.boards.build.unpacked import Unpacked, compare, match, unpack
from residuum.cli import main
from residuum.hw.accelerator import Accelerator
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.contents import contents_digest
from residuum.hw.isa.host_map import HostMap, Region
from residuum.hw.isa.protocol import Identity
from residuum.sw.errors import ResiduumError
from residuum.sw.network.library import load_network
from tests.boards.fake import fake

SMALL = EngineConfig.for_lanes(8, weight_rows=2048, memory="ecp5")
# Eight lanes of 4 bits in so many rows take cells with words of 2 bits.
DEEP = EngineConfig.for_lanes(8, weight_bits=4, weight_rows=8192, memory="ecp5")
DESIGN = bytes(range(1, 9))


def program_of(config, model="digits"):
    bits = min(8, config.weight_bits)
    return dict(bitstream.contents(load_network(model, bits), config))


def memories(config, program, name="digits-8bit"):
    """The memories of a device with a network."""
    digest = bitstream.identity_digest(DESIGN, program)
    return memories_of(
        Accelerator(config, clock_hz=150_000_000, digest=digest, program=program, name=name), None
    )


def pack(folder, found, device="LFE5U-12F"):
    """A bitstream with these memories and nothing else, in another order."""
    lines = [f".device {device}", ""]
    for number, words in enumerate(reversed(found.values()), start=3):
        lines += [f".bram_init {number}"]
        lines += [" ".join(f"{word:03x}" for word in row) for row in words.reshape(-1, 8).tolist()]
        lines += [""]
    (folder / "in.config").write_text("\n".join(lines))
    arguments = ["--compress", "--input", "in.config", "--bit", "packed.bit"]
    assert toolchain.run("ecppack", arguments, folder=folder, log="log") == 0
    return folder / "packed.bit"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    program = program_of(SMALL)
    return pack(tmp_path_factory.mktemp("packed"), memories(SMALL, program)), program


def test_the_identity_and_the_memories_are_read_back(packed):
    path, program = packed
    found = unpack(path)
    assert found.device == "LFE5U-12F"
    assert (found.config, found.presets) == (SMALL, [])
    assert found.identity == Identity(
        config=replace(SMALL, memory=EngineConfig.memory),
        clock_hz=150_000_000,
        digest=DESIGN + contents_digest(program),
        name="digits-8bit",
    )
    assert (found.design_digest, found.contents_digest) == (DESIGN, contents_digest(program))
    assert compare(found, program).equal


def test_the_command_tells_what_a_bitstream_holds(packed, capsys):
    path, program = packed
    assert main(["inspect", str(path)]) == 0
    printed = capsys.readouterr().out
    for value in ("LFE5U-12F", "8 lanes x 8 steps", "150 MHz", "digits-8bit", DESIGN.hex()):
        assert value in printed
    assert contents_digest(program).hex() in printed
    assert "weights" not in printed.replace("8-bit weights", "")


def test_the_command_compares_every_weight(packed, capsys):
    path, program = packed
    network = load_network("digits", 8)
    rows = sum(
        -(-layer.out_channels // SMALL.lanes) * layer.source.weight[0].size
        for layer in network.layers
    )
    assert main(["inspect", str(path), "--model", "digits"]) == 0
    printed = capsys.readouterr().out
    assert f"weights                {rows * SMALL.lanes:,}, equal" in printed
    assert "digits-8bit, the same digest" in printed
    assert main(["inspect", str(path), "--model", "digits", "--bits", "4"]) == 1
    assert "digits-4bit, another digest" in capsys.readouterr().out


def unpacked(config, program):
    """As `unpack`, without the tools."""
    digest = bitstream.identity_digest(DESIGN, program)
    identity = Identity(config=config, clock_hz=150_000_000, digest=digest, name="digits-8bit")
    return Unpacked("LFE5U-12F", identity, dict(enumerate(memories(config, program).values())))


@pytest.mark.parametrize("config", [SMALL, DEEP], ids=["9 bits", "2 bits"])
def test_a_single_wrong_bit_is_one_wrong_weight(config):
    program = program_of(config)
    weights = HostMap(config).address(Region.WEIGHTS)
    address = max(address for address in program if address >> HostMap(config).offset_bits ==
                  weights >> HostMap(config).offset_bits)  # fmt: skip
    damaged = program | {address: program[address] ^ 1 << 9}
    found = unpacked(config, damaged)
    comparison = compare(found, program)
    assert (comparison.weights_differing, len(comparison.memories_differing)) == (1, 1)
    assert ".weights.rows." in comparison.memories_differing[0].replace("$", ".")
    assert not comparison.same_digest
    assert not comparison.equal
    assert compare(found, damaged).equal


def test_a_wrong_word_that_is_no_weight_is_told():
    program = program_of(SMALL)
    descriptor = HostMap(SMALL).address(Region.DESCRIPTORS)
    found = unpacked(SMALL, program | {descriptor: program[descriptor] ^ 1})
    comparison = compare(found, program)
    assert comparison.weights_differing == 0
    assert [path.split(".ebr")[0] for path in comparison.memories_differing] == [
        "engine.descriptors"
    ]


def test_a_memory_that_is_missing_counts_as_zeros():
    one = np.ones(4, np.uint16)
    assert match({"a": one, "b": one * 2}, {3: one})["b"].tolist() == [0, 0, 0, 0]


def test_each_block_is_taken_once_and_equal_ones_first():
    first, other = np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])
    found = match({"a": other, "b": first}, {3: first, 4: np.array([9, 2, 3, 5])})
    assert found["b"].tolist() == first.tolist()
    assert found["a"].tolist() == [9, 2, 3, 5]


def test_a_damaged_bitstream_is_one_sentence(packed, tmp_path, capsys):
    content = bytearray(packed[0].read_bytes())
    content[len(content) // 2] ^= 0x55
    (tmp_path / "bad.bit").write_bytes(content)
    assert main(["inspect", str(tmp_path / "bad.bit")]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "bad.bit is not a bitstream of an ECP5, or it is damaged (" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hello", "is not a bitstream of an ECP5, or it is damaged"), (None, "cannot be read: No")],
)
def test_no_bitstream_is_one_sentence(content, message, tmp_path):
    if content is not None:
        (tmp_path / "no.bit").write_bytes(content)
    with pytest.raises(ResiduumError, match=message):
        unpack(tmp_path / "no.bit")


def test_a_bitstream_of_something_else_is_one_sentence(tmp_path):
    with pytest.raises(ResiduumError, match="but not one of this version of Residuum"):
        unpack(pack(tmp_path, {}))


def test_an_unpacker_that_fails_without_a_word_is_one_sentence(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("ECPUNPACK", str(fake(tmp_path, "failing", "kill -9 $$")))
    with pytest.raises(ResiduumError, match="ecpunpack was stopped by SIGKILL"):
        unpack(packed[0])
