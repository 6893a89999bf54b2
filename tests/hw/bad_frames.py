"""Frames that must have no effect: damaged ones, which are dropped, and requests that are refused.

What is dropped is checked at the framer, what is refused at the host link.
"""

from residuum.hw.isa import protocol
from residuum.hw.isa.descriptors import HostMap, Region
from residuum.hw.isa.protocol import Frame, Status
from tests.hw.host import SMALL

MAP = HostMap(SMALL)
TRAINS = MAP.address(Region.TRAINS)

# The frame that is damaged; whole, it is a good request to a small engine.
WRITE = protocol.write(TRAINS, [0xC0, 2, 3]).with_tag(0xDB)
WIRE = WRITE.encode()
_PACKED = WRITE.pack()

DAMAGED = {
    "wrong bit in the command": protocol.slip_encode(bytes([_PACKED[0] ^ 4]) + _PACKED[1:]),
    "wrong bit in the payload": protocol.slip_encode(_PACKED[:13] + b"\xff" + _PACKED[14:]),
    "wrong bit in the CRC": protocol.slip_encode(_PACKED[:-1] + bytes([_PACKED[-1] ^ 1])),
    "a byte lost": protocol.slip_encode(_PACKED[:14] + _PACKED[15:]),
    "a word lost": protocol.slip_encode(_PACKED[:12] + _PACKED[16:]),
    "a byte too many": protocol.slip_encode(_PACKED + b"\0"),
    "a word too many": protocol.slip_encode(_PACKED + bytes(4)),
    "no whole words": protocol.slip_encode(protocol.add_crc(_PACKED[:14])),
    "cut by an END": WIRE[:17] + b"\xc0",
    "an escape that means nothing": WIRE[:4] + b"\xdb\x01" + WIRE[4:],
    "one byte": b"\xc0\1\xc0",
    "three words": protocol.slip_encode(protocol.add_crc(bytes(8))),
    "a word longer than the longest": protocol.slip_encode(protocol.add_crc(bytes(4 * 260))),
    "longer than the buffer": protocol.slip_encode(protocol.add_crc(_PACKED + bytes(4 * 256))),
    "much longer than the buffer": protocol.slip_encode(protocol.add_crc(_PACKED + bytes(5000))),
}

REFUSED = {
    "no command": (Frame(command=0), Status.UNKNOWN),
    "unknown command": (Frame(command=8), Status.UNKNOWN),
    "command with a high bit": (Frame(command=0x82, address=TRAINS, count=1), Status.UNKNOWN),
    "request with a status": (Frame(command=6, status=2), Status.UNKNOWN),
    "nothing to read": (protocol.read(TRAINS, 0), Status.LENGTH),
    "too much to read": (protocol.read(TRAINS, 257), Status.LENGTH),
    "count of 32 bits": (protocol.read(TRAINS, 1 << 31 | 1), Status.LENGTH),
    "identify with a count": (Frame(command=1, count=1), Status.LENGTH),
    "reset with a payload": (Frame(command=7, payload=(1,)), Status.LENGTH),
    "write with a word too few": (
        Frame(command=3, address=TRAINS, count=2, payload=(1,)),
        Status.LENGTH,
    ),
    "write with a word too many": (
        Frame(command=3, address=TRAINS, count=1, payload=(1, 2)),
        Status.LENGTH,
    ),
    "bytes with a word too many": (
        Frame(command=4, address=TRAINS, count=4, payload=(1, 2)),
        Status.LENGTH,
    ),
    "run without steps": (Frame(command=5, count=1), Status.LENGTH),
    "write to control": (protocol.write(MAP.address(Region.CONTROL), [0]), Status.RANGE),
    "read of control": (protocol.read(MAP.address(Region.CONTROL, word=2), 1), Status.RANGE),
    "write to logits": (protocol.write(MAP.address(Region.LOGITS), [0]), Status.RANGE),
    "write across the end": (
        protocol.write(TRAINS + MAP.size(Region.TRAINS) - 1, [1, 2]),
        Status.RANGE,
    ),
    "no such region": (protocol.read(15 << MAP.offset_bits, 1), Status.RANGE),
    "address with a high bit": (protocol.read(TRAINS | 1 << 31, 1), Status.RANGE),
    "no such layer": (protocol.run(0, 3, tau=1, T=1), Status.RANGE),
    "layers in the wrong order": (protocol.run(2, 1, tau=1, T=1), Status.RANGE),
    "layers with a high bit": (protocol.run(0, 1 << 8, tau=1, T=1), Status.RANGE),
    "steps with a high bit": (protocol.run(0, 1, tau=1, T=1 << 8), Status.REFUSED),
}
