"""Frames that must have no effect: damaged frames are dropped, invalid requests are refused.

The framer's tests check dropped frames, the host link's tests refused requests.
"""

from residuum.hw.isa.host_map import HostMap, Region
from residuum.hw.isa.protocol import (
    Frame,
    Status,
    add_crc,
    classify,
    read,
    run,
    slip_encode,
    write,
    write_bytes,
)
from tests.hw.host import SMALL

MAP = HostMap(SMALL)
TRAINS = MAP.address(Region.TRAINS)

# A good request to a small engine, which is damaged below.
WRITE = write(TRAINS, [0xC0, 2, 3]).with_tag(0xDB)
WIRE = WRITE.encode()
_PACKED = WRITE.pack()

# Each counts as one dropped frame if another frame follows. None: the wire loses a byte.
DAMAGED: dict[str, list[bytes | None]] = {
    "wrong bit in the command": [slip_encode(bytes([_PACKED[0] ^ 4]) + _PACKED[1:])],
    "wrong bit in the payload": [slip_encode(_PACKED[:13] + b"\xff" + _PACKED[14:])],
    "wrong bit in the CRC": [slip_encode(_PACKED[:-1] + bytes([_PACKED[-1] ^ 1]))],
    "a byte missing": [slip_encode(_PACKED[:14] + _PACKED[15:])],
    "a word missing": [slip_encode(_PACKED[:12] + _PACKED[16:])],
    "a byte too many": [slip_encode(_PACKED + b"\0")],
    "a word too many": [slip_encode(_PACKED + bytes(4))],
    "no whole words": [slip_encode(add_crc(_PACKED[:14]))],
    "cut by an END": [WIRE[:17] + b"\xc0"],
    "an escape that means nothing": [WIRE[:4] + b"\xdb\x01" + WIRE[4:]],
    # The decoder outputs ESC for this invalid escape, so that the CRC matches.
    "an escape that should be ESC": [WIRE.replace(b"\xdb\xdd", b"\xdb\x01")],
    "one byte": [b"\xc0\1\xc0"],
    "three words": [slip_encode(add_crc(bytes(8)))],
    "a word longer than the longest": [slip_encode(add_crc(bytes(4 * 510)))],
    "longer than the buffer": [slip_encode(add_crc(_PACKED + bytes(4 * 512)))],
    "much longer than the buffer": [slip_encode(add_crc(_PACKED + bytes(5000)))],
    **{f"no END after {n} bytes": [WIRE[:n]] for n in range(2, len(WIRE) - 1, 4)},
    **{f"byte {n} lost": [WIRE[:n], None, WIRE[n:]] for n in (1, 5, 10, len(WIRE) - 1)},
}

REFUSED = {
    Status.UNKNOWN: {
        "no command": Frame(command=0),
        "unknown command": Frame(command=9),
        "command with a high bit": Frame(command=0x82, address=TRAINS, count=1),
        "request with a status": Frame(command=6, status=2),
    },
    Status.LENGTH: {
        "nothing to read": read(TRAINS, 0),
        "too much to read": read(TRAINS, 257),
        "count of 32 bits": read(TRAINS, 1 << 31 | 1),
        "identify with a count": Frame(command=1, count=1),
        "reset with a payload": Frame(command=7, payload=(1,)),
        "write with a word too few": Frame(command=3, address=TRAINS, count=2, payload=(1,)),
        "write with a word too many": Frame(command=3, address=TRAINS, count=1, payload=(1, 2)),
        "bytes with a word too many": Frame(command=4, address=TRAINS, count=4, payload=(1, 2)),
        "too much to write": write(TRAINS, [0] * 257),
        "too many bytes": write_bytes(TRAINS, bytes(1025)),
        "run without steps": Frame(command=5, count=1),
        "no pixels": classify(0, b"", tau=0, T=1),
        "pixels with a word too few": Frame(command=8, count=5, payload=(1 << 8, 1)),
    },
    Status.RANGE: {
        "write to control": write(MAP.address(Region.CONTROL), [0]),
        "read of control": read(MAP.address(Region.CONTROL, word=2), 1),
        "write to logits": write(MAP.address(Region.LOGITS), [0]),
        "write across the end": write(TRAINS + MAP.size(Region.TRAINS) - 1, [1, 2]),
        "no such region": read(15 << MAP.offset_bits, 1),
        "address with a high bit": read(TRAINS | 1 << 31, 1),
        "no such layer": run(0, 3, tau=1, T=1),
        "layers in the wrong order": run(2, 1, tau=1, T=1),
        "layers with a high bit": run(0, 1 << 8, tau=1, T=1),
        "no such layer for an image": classify(3, b"1234", tau=1, T=1),
    },
    Status.REFUSED: {
        "no such correction": run(0, 1, tau=1, T=2 << 8 | 1),
        "steps with a high bit": run(0, 1, tau=1, T=1 << 23 | 1),
        "no step of inference": run(0, 1, tau=1, T=0),
        "more steps than the engine has": run(0, 1, tau=1, T=3),
        "more steps in 8 bits": run(0, 1, tau=128, T=129),
        "pixels that no program takes": classify(0, b"1234", tau=1, T=1),
    },
}
