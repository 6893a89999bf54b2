"""Frames as data: bytes computed by hand, and damage on the wire."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum.hw.isa import protocol
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Correction
from residuum.hw.isa.protocol import Frame, FrameError, FrameReader, Identity

WORD = st.integers(0, 0xFFFF_FFFF)
BYTE = st.integers(0, 0xFF)
FRAMES = st.builds(
    lambda command, status, tag, address, payload: Frame(
        command=command,
        status=status,
        tag=tag,
        address=address,
        count=len(payload),
        payload=tuple(payload),
    ),
    BYTE,
    BYTE,
    st.integers(0, 0xFFFF),
    WORD,
    st.lists(WORD, max_size=protocol.MAX_WORDS),
)

# READ of 2 words at 0x20000 with the tag 0xC0DB: header, and CRC (from gzip). Both bytes of the tag
# need an escape.
HEADER = bytes.fromhex("0200dbc0 00000200 02000000")
CRC = bytes.fromhex("8646196f")
WIRE = bytes.fromhex("c0 0200dbdddbdc 00000200 02000000 8646196f c0")


def test_a_request_byte_by_byte():
    frame = protocol.read(0x20000, 2).with_tag(0xC0DB)
    assert (frame.pack(), frame.encode()) == (HEADER + CRC, WIRE)


def test_the_crc_is_that_of_the_standard():
    # Check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
    assert protocol.add_crc(b"123456789")[9:] == 0xCBF43926.to_bytes(4, "little")


def test_the_example_of_rfc_1055():
    assert protocol.slip_encode(b"\xc0a\xdb") == b"\xc0\xdb\xdca\xdb\xdd\xc0"


@given(st.binary())
def test_slip_hides_every_byte_with_a_meaning(data):
    coded = protocol.slip_encode(data)
    assert protocol.END not in coded[1:-1]
    assert protocol.slip_decode(coded[1:-1]) == data


@pytest.mark.parametrize("data", [b"\xdb", b"a\xdb", b"\xdba", b"\xdb\xdb", b"\xdb\xdb\xdc"])
def test_an_escape_that_means_nothing_is_refused(data):
    with pytest.raises(FrameError, match="^an ESC stands before a byte that SLIP does not escape$"):
        protocol.slip_decode(data)


@given(FRAMES)
def test_a_frame_reads_back(frame):
    assert Frame.unpack(frame.pack()) == frame


@given(FRAMES, st.data())
def test_a_frame_with_a_burst_of_wrong_bits_is_refused(frame, data):
    # A CRC of 32 bits finds every burst of up to 32 bits.
    packed = frame.pack()
    burst = data.draw(st.integers(1, 0xFFFF_FFFF))
    place = data.draw(st.integers(0, 8 * (len(packed) - 4)))
    damaged = int.from_bytes(packed, "little") ^ burst << place
    with pytest.raises(FrameError, match="^the CRC does not match$"):
        Frame.unpack(damaged.to_bytes(len(packed), "little"))


@pytest.mark.parametrize("size", [0, 1, 12, 15, 17, 4 * 261, 4 * 260 + 1])
def test_a_frame_of_another_length_is_refused(size):
    data = bytes(max(0, size - 4))
    data = (data + zlib.crc32(data).to_bytes(4, "little"))[:size]
    with pytest.raises(FrameError, match=f"^{size} bytes are no frame$"):
        Frame.unpack(data)


@given(st.lists(FRAMES, max_size=3), st.lists(st.integers(1, 99)))
def test_frames_are_found_in_pieces_of_any_size(frames, sizes):
    wire = b"".join(frame.encode() for frame in frames)
    reader, found = FrameReader(), []
    for size in [*sizes, len(wire)]:
        found += reader.feed(wire[:size])
        wire = wire[size:]
    assert (found, reader.dropped) == (frames, 0)


@given(st.binary(max_size=40), FRAMES)
def test_a_frame_is_found_behind_noise(noise, frame):
    reader = FrameReader()
    assert reader.feed(noise + frame.encode())[-1] == frame


def test_the_reader_counts_what_was_no_frame():
    reader = FrameReader()
    reader.feed(b"noise" + WIRE[:-4] + WIRE + b"\xc0\xc0\xdb\x01\xc0")
    assert reader.dropped == 3


def test_endless_noise_takes_no_room():
    reader = FrameReader()
    for _ in range(100):
        reader.feed(bytes(1000))
    assert len(reader._rest) < 3000
    assert reader.feed(WIRE) == [Frame.unpack(HEADER + CRC)]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (protocol.identify(), (1, 0, 0, ())),
        (protocol.read(7, 256), (2, 7, 256, ())),
        (protocol.write(7, [1, 2]), (3, 7, 2, (1, 2))),
        (protocol.write_bytes(7, b"\1\2\3\4\5"), (4, 7, 5, (0x04030201, 5))),
        (protocol.run(1, 3, tau=4, T=8), (5, 0x301, 1, (0x804,))),
        (
            protocol.run(1, 3, tau=4, T=8, correction=Correction.CARRY),
            (5, 0x301, 1, (0x1_0804,)),
        ),
        (protocol.status(), (6, 0, 0, ())),
        (protocol.reset(), (7, 0, 0, ())),
        (protocol.classify(2, b"\1\2\3\4\5", tau=4, T=8), (8, 0x200, 5, (0x804, 0x04030201, 5))),
        (protocol.classify(2, b"\1", tau=4, T=8, first=1), (8, 0x201, 1, (0x804, 1))),
    ],
)
def test_requests(frame, expected):
    assert (frame.command, frame.address, frame.count, frame.payload) == expected


CONFIG = EngineConfig(lanes=6, tile_lanes=2, weight_rows=5)


def test_the_words_of_an_identity():
    identity = Identity(config=CONFIG, clock_hz=25_000_000, digest=b"\1\2", name="digits")
    sizes = [6, 2, 1, 8, 8, 16, 24, 4, 4, 5, 512, 512, 64, 512, 16, 1, 0, 2560]
    name = [int.from_bytes(b"digi", "little"), int.from_bytes(b"ts", "little"), 0, 0]
    assert list(identity.words()) == [6, *sizes, 25_000_000, 0x0201, 0, 0, 0, *name]


def test_an_identity_reads_back():
    identity = Identity(config=CONFIG, clock_hz=1, digest=bytes(range(16)), name="a" * 16)
    assert Identity.from_words(identity.words()) == identity


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"config": 3}, TypeError, "config must be an EngineConfig, not 3"),
        ({"clock_hz": 1.0}, TypeError, "clock_hz must be an integer, not 1.0"),
        ({"clock_hz": 0}, ValueError, r"clock_hz must be in 1..2\*\*32 - 1, not 0"),
        ({"digest": bytes(17)}, ValueError, "digest must have at most 16 bytes, not .*"),
        ({"name": "é"}, ValueError, "name must have at most 16 ASCII characters, not 'é'"),
        ({"name": "a" * 17}, ValueError, "name must have at most 16 ASCII characters, not 'a+'"),
    ],
)
def test_what_cannot_be_told_is_refused(changes, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        Identity(**{"config": CONFIG, "clock_hz": 1} | changes)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "protocol version none is not 6"),
        ((5, 3), "protocol version 5 is not 6"),
        ((6, 3), "an identity has 28 words, not 2"),
        ((6,) + (0,) * 27, "lanes must be in 1..1024, not 0"),
    ],
)
def test_what_is_no_identity_is_refused(words, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Identity.from_words(words)


def test_the_words_of_a_request_for_an_image():
    frame = protocol.classify(0, bytes(3072), tau=0, T=1)
    assert len(frame.pack()) == 4 * protocol.classify_words(3072)
