"""Where the time of classifications goes."""

import pytest

from residuum.sw.host.device import Device
from residuum.sw.host.stopwatch import Stopwatch, TimeSpent
from tests.sw.fake_device import CLOCK_HZ, FakeLink


def test_bytes_and_cycles_become_seconds():
    link = FakeLink()
    link.seconds_per_byte = 0.5
    with Device(link) as device:
        watch = Stopwatch(device)
        device.status()
        spent = watch.stop(images=2, cycles=3 * CLOCK_HZ)
    assert len(link.requests[-1]) <= 2 * spent.up <= 2 * len(link.requests[-1])
    assert 30 <= 2 * spent.down <= 40
    assert spent.engine == 3
    assert 0 <= spent.host <= spent.total + 0.1


def test_the_sentence_is_per_image():
    spent = TimeSpent(4, total=2.0, up=1.0, down=0.1, engine=0.2, host=0.04)
    assert spent.rate == pytest.approx(2)
    assert spent.sentence == (
        "2.0 images/s end to end; ms per image: 500.00, of it wire up 250.00, engine 50.00, "
        "wire down 25.00, host 10.00"
    )
