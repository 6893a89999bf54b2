"""The widths that `residuum import --board` chooses, on a network for the digits."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from residuum.hw.isa.config import EngineConfig
from residuum.sw.convert.to_integer import convert
from residuum.sw.errors import ResiduumError
from residuum.sw.importing.choice import Choice, Engines, Rough, choose, widths
from residuum.sw.importing.pipeline import Imported, Options
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.library import float_file

# The digits take 809 weight rows.
LARGE = EngineConfig.for_lanes(16, weight_rows=1024)
NARROW = LARGE.with_changes(weight_bits=5, accumulator_bits=12, potential_bits=18)
SMALL = LARGE.with_changes(weight_rows=700)


@pytest.fixture(scope="module")
def digits() -> FloatNetwork:
    return FloatNetwork.load(float_file("digits"))


def engines(**presets: EngineConfig) -> Engines:
    return Engines("the board", presets, "85")


def test_wide_weights_come_first_but_not_with_small_numbers() -> None:
    tried = widths("radix")
    assert tried[:4] == [(8, 8), (8, 7), (8, 6), (7, 8)]
    assert len(set(tried)) == len(tried) == 7 * 8
    places = {each: number for number, each in enumerate(tried)}
    assert places[4, 6] < places[8, 5] < places[4, 4] < places[3, 8] < places[8, 3] < places[2, 1]


@pytest.mark.parametrize(
    ("code", "bits", "map_bits", "tried"),
    [
        ("rate", None, None, [(bits, 1) for bits in range(8, 1, -1)]),
        ("rate", 3, None, [(3, 1)]),
        ("radix", 3, None, [(3, number) for number in range(8, 0, -1)]),
        ("radix", None, 2, [(bits, 2) for bits in range(8, 1, -1)]),
        ("radix", 3, 2, [(3, 2)]),
    ],
)
def test_given_widths_stay(
    code: str, bits: int | None, map_bits: int | None, tried: list[tuple[int, int]]
) -> None:
    assert widths(code, bits, map_bits) == tried


@pytest.mark.parametrize(
    ("presets", "preset", "bits", "map_bits"),
    [
        ({"large": LARGE}, "large", 8, 8),
        # The first of two engines that hold the same.
        ({"narrow": NARROW, "large": LARGE, "other": LARGE}, "large", 8, 8),
        # Memory decides which engine, its registers which widths.
        ({"small": SMALL, "narrow": NARROW}, "narrow", 5, 6),
        ({"narrow": NARROW.with_changes(potential_bits=17)}, "narrow", 4, 6),
    ],
)
def test_the_widest_weights_and_the_largest_numbers_are_chosen(
    digits: FloatNetwork, presets: dict[str, EngineConfig], preset: str, bits: int, map_bits: int
) -> None:
    there = engines(**presets)
    choice = next(Rough(digits, Options()).choices(there, widths("radix")))
    options = choice.options
    assert (choice.preset, options.bits, options.map_bits) == (preset, bits, map_bits)
    assert options.potential_bits == presets[preset].potential_bits
    assert str(choice) == f"{bits} bits, K = {map_bits}, preset {preset}"


def test_rate_code_has_only_weights_to_choose(digits: FloatNetwork) -> None:
    rough = Rough(digits, Options(code="rate", tau=4, T=4))
    narrow = NARROW.with_changes(potential_bits=20)
    choice = next(rough.choices(engines(narrow=narrow), widths("rate")))
    assert str(choice) == "5 bits, preset narrow"


@pytest.mark.parametrize(
    ("options", "presets", "sentence"),
    [
        (
            Options(),
            {"tiny": SMALL.with_changes(weight_rows=100), "small": SMALL},
            "the board does not hold 'digits' even with weights of 2 bits: layer 'classifier' .* "
            r"weight rows, .* has \d+ \(preset .*\); what helps: .*--weight-rows 809",
        ),
        (
            Options(code="rate", tau=4, T=8),
            {"large": LARGE},
            "tau 4 and T 8 are 12 steps; the engines of the board have 8",
        ),
    ],
)
def test_what_fits_no_engine_is_told(
    digits: FloatNetwork, options: Options, presets: dict[str, EngineConfig], sentence: str
) -> None:
    with pytest.raises(ResiduumError, match=sentence):
        next(Rough(digits, options).choices(engines(**presets), widths(options.code)))


def importer(digits: FloatNetwork, wider: int) -> Callable[[Options], Imported]:
    """Final networks of so many more bits than the rough ones."""

    def to_integers(options: Options) -> Imported:
        conversion = convert(
            digits,
            bits=options.bits + wider,
            code="radix",
            map_bits=options.map_bits,
            potential_bits=options.potential_bits,
        )
        return Imported(digits, digits, conversion)

    return to_integers


def test_a_final_network_that_does_not_fit_is_not_taken(digits: FloatNetwork) -> None:
    rough, there = Rough(digits, Options(map_bits=4)), engines(narrow=NARROW)
    tried = [(bits, 4) for bits in range(8, 1, -1)]
    chosen: Choice
    chosen, imported = choose(rough, there, tried, importer(digits, wider=1))
    assert chosen.options == replace(rough.options, bits=4, potential_bits=18)
    assert imported.conversion.network.weight_bits == 5
    with pytest.raises(ResiduumError, match="weights need [67] bits; this engine has 5"):
        choose(rough, there, tried, importer(digits, wider=4))
