"""Addresses of devices, and the error sentences for wrong ones."""

import errno

import pytest

from residuum.cli import main
from residuum.sw.host.links import (
    RATES,
    SerialLink,
    _why_not_open,
    latency_note,
    split_baud,
)


@pytest.mark.parametrize(
    ("text", "port", "rates"),
    [
        ("/dev/ttyUSB0", "/dev/ttyUSB0", RATES),
        ("/dev/ttyUSB0@115200", "/dev/ttyUSB0", (115200,)),
        ("/dev/by@id/x@3000000", "/dev/by@id/x", (3_000_000,)),
        ("COM3", "COM3", RATES),
    ],
)
def test_port_and_rates(text, port, rates):
    assert split_baud(text) == (port, rates)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("", "'' names no device; write serial:PORT, serial:PORT@BAUD or sim:"),
        ("sim", "'sim' names no device"),
        ("serial:", "'serial:' names no device"),
        ("/dev/ttyUSB0", "'/dev/ttyUSB0' names no device"),
        ("usb:1", "'usb:1' names no device"),
        ("serial:/dev/ttyUSB0@fast", "'fast' in serial:/dev/ttyUSB0@fast is no baud rate"),
        ("serial:/dev/ttyUSB0@0", "'0' in serial:/dev/ttyUSB0@0 is no baud rate"),
        ("serial:/dev/residuum-no-such-port", "no serial port /dev/residuum-no-such-port; those"),
        ("serial:/dev/null", "/dev/null cannot be used as a serial port"),
        ("sim:tiles=3", "'tiles=3' is no option of sim:, as lanes=32, steps=16, sdram=1024, "),
        ("sim:latency=1", "sim:latency=1 has a latency, but no rate; add one, as in baud=3000000"),
        ("sim:baud=13000000", "13,000,000 is no baud rate of a bridge; give 1 to 12,000,000"),
        ("sim:baud=9600,latency=0", "0 ms is no latency of a bridge; give 1 to 255 milliseconds"),
        ("sim:lanes", "'lanes' is no option of sim:"),
        (
            "sim:lanes=4096",
            "the engine of sim:lanes=4096 cannot be built: lanes must be in 1..1024",
        ),
    ],
)
def test_wrong_addresses(address, sentence, capsys):
    assert main(["info", "--device", address]) == 1
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.EACCES, "denied"), "you may not use /dev/x; on Linux, add yourself to"),
        (OSError(errno.EBUSY, "busy"), "another program uses /dev/x; close it"),
        (OSError(errno.EAGAIN, "locked"), "another program uses /dev/x; close it"),
        (ValueError("baud"), "/dev/x cannot be set to 7 baud; give another rate"),
        (OSError(errno.EIO, "broken"), "/dev/x cannot be used as a serial port"),
    ],
)
def test_ports_that_cannot_be_opened(error, sentence):
    assert sentence in _why_not_open("/dev/x", 7, error)


def test_timeouts_follow_the_baud_rate(monkeypatch):
    port = type("Port", (), {"baudrate": 9600})()
    monkeypatch.setattr(SerialLink, "_open", lambda *_: port)
    link = SerialLink("x", (9600, 3_000_000))
    assert link.seconds_per_byte == pytest.approx(10 / 9600)
    assert link.change_rate()
    assert link.seconds_per_byte == pytest.approx(10 / 3_000_000)
    assert (port.baudrate, link.change_rate()) == (3_000_000, False)


class _Port:
    """A serial port whose system sets low latency, or does not."""

    def __init__(self, error=None):
        self.error = error
        self.asked = []

    def set_low_latency_mode(self, low):
        self.asked.append(low)
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("port", "low"),
    [
        (_Port(), True),
        (_Port(ValueError("Failed to update ASYNC_LOW_LATENCY flag")), False),
        (_Port(NotImplementedError()), False),
        (object(), False),
    ],
)
def test_low_latency_is_asked_for_and_a_port_without_it_is_told(port, low, monkeypatch):
    monkeypatch.setattr(SerialLink, "_open", lambda *_: port)
    link = SerialLink("x")
    assert link.low_latency is low
    assert (latency_note(link) is None) is low
    if isinstance(port, _Port):
        assert port.asked == [True]
