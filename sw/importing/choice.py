"""The widest weights, and numbers of the most bits, with which an engine holds a network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from residuum.hw.isa.config import PIXEL_BITS, EngineConfig
from residuum.sw.compiler.fit import Need, fit
from residuum.sw.compiler.runnable import not_runnable
from residuum.sw.convert.to_integer import convert
from residuum.sw.errors import ResiduumError
from residuum.sw.importing.pipeline import Imported, Options
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.integer_network import MIN_WEIGHT_BITS, RADIX, IntegerNetwork

# Bits of the weights, and K.
Widths = tuple[int, int]

MOST_BITS = 8
# The least bits of weights and of numbers that are tried first, then, and so on. Each of them costs
# accuracy: a network with wide weights and numbers of 2 bits is worse than one with less of both.
_LEAST = ((4, 6), (4, 4), (MIN_WEIGHT_BITS, 4), (MIN_WEIGHT_BITS, 1))
# Needs that depend on K, and on K and the bits of the weights. The others are the same for each
# choice.
_OF_NUMBERS = ("potential_bits", "steps")
_OF_WIDTHS = (*_OF_NUMBERS, "weight_bits", "accumulator_bits", "fraction_bits")


@dataclass(frozen=True)
class Engines:
    """What a network has to fit: the engines of a board.

    Attributes
    ----------
    board
        Its name.
    presets
        Engines by name; of two that hold the same widths, the first is chosen.
    device
        Size of the device, a key of `residuum.hw.isa.memories.DEVICE_EBR`.
    """

    board: str
    presets: Mapping[str, EngineConfig]
    device: str

    def needs(self, preset: str, network: IntegerNetwork) -> tuple[Need, ...]:
        """`residuum.sw.compiler.fit.fit` of the network on one of the engines."""
        return fit(network, self.presets[preset], device=self.device)

    def exceeded(self, preset: str, network: IntegerNetwork) -> list[Need]:
        """The needs that the engine has not."""
        return [need for need in self.needs(preset, network) if not need.fits]


@dataclass(frozen=True)
class Choice:
    """Widths that fit: the preset, and the options of the import with bits of the weights, K, and
    the engine's bits of the potential."""

    preset: str
    options: Options

    def __str__(self) -> str:
        """As in "6 bits, K = 6, preset 85f-6bit"; rate code has no K."""
        numbers = f"K = {self.options.map_bits}, " if self.options.code == RADIX else ""
        return f"{self.options.bits} bits, {numbers}preset {self.preset}"


def widths(code: str, bits: int | None = None, map_bits: int | None = None) -> list[Widths]:
    """Bits of the weights and K to try, the best first; ``bits`` and ``map_bits`` are given ones.

    The widest weights come first, and with them the largest K. Weights of 4 bits and more, and K of
    6 and more, come before all others; then K of 4 and more. In rate code K is 1.
    """
    weights = [bits] if bits else range(MOST_BITS, MIN_WEIGHT_BITS - 1, -1)
    numbers = [map_bits] if map_bits else range(PIXEL_BITS, 0, -1)
    if code != RADIX:
        return [(width, 1) for width in weights]
    found: list[Widths] = []
    for least_bits, least_numbers in _LEAST:
        found += [
            (width, number)
            for width in weights
            for number in numbers
            if (width >= least_bits or bits) and (number >= least_numbers or map_bits)
            if (width, number) not in found
        ]
    return found


class Rough:
    """Integer networks of all widths, with weights rounded to the nearest and without images.

    Compensation changes weights a little, so the final network may need a bit more in a register.

    Parameters
    ----------
    network
        With finite thresholds.
    options
        Everything but the widths.
    """

    def __init__(self, network: FloatNetwork, options: Options) -> None:
        self.network, self.options = network, options
        self._steps = 1 if options.code == RADIX else options.tau + options.T
        self._made: dict[tuple[int, int, int], IntegerNetwork] = {}

    def choices(self, engines: Engines, tried: Sequence[Widths]) -> Iterator[Choice]:
        """Choices that fit, the best first; ``tried`` is from `widths`.

        Raises ``ResiduumError`` if none fits: names the need of the narrowest widths, and what
        helps. Also if no engine of any size runs the network.
        """
        self._check_steps(engines)
        narrowest = {preset: self._on(engines, preset, tried[-1]) for preset in engines.presets}
        if refused := not_runnable(next(iter(narrowest.values()))):
            raise ResiduumError(refused[0])
        exceeded = {preset: engines.exceeded(preset, net) for preset, net in narrowest.items()}
        large_enough = [
            preset
            for preset, needs in exceeded.items()
            if engines.presets[preset].steps >= self._steps
            and all(need.parameter in _OF_WIDTHS for need in needs)
        ]
        found = False
        # Weights that are too wide for an engine, whatever K is.
        too_wide: set[tuple[str, int]] = set()
        for widths in tried:
            for preset in large_enough:
                engine, bits = engines.presets[preset], widths[0]
                if bits > engine.weight_bits or (preset, bits) in too_wide:
                    continue
                needs = engines.exceeded(preset, self._on(engines, preset, widths))
                if any(need.parameter not in _OF_NUMBERS for need in needs):
                    too_wide.add((preset, bits))
                if not needs:
                    found = True
                    yield Choice(preset, self._with(widths, engine))
        if not found:
            raise _refusal(engines, narrowest)

    def _on(self, engines: Engines, preset: str, widths: Widths) -> IntegerNetwork:
        options = self._with(widths, engines.presets[preset])
        key = (*widths, options.potential_bits)
        if key not in self._made:
            self._made[key] = convert(
                self.network,
                bits=options.bits,
                code=options.code,
                map_bits=options.map_bits,
                potential_bits=options.potential_bits,
                steps=None if options.code == RADIX else options.steps,
            ).network
        return self._made[key]

    def _with(self, widths: Widths, engine: EngineConfig) -> Options:
        bits, map_bits = widths
        return replace(
            self.options, bits=bits, map_bits=map_bits, potential_bits=engine.potential_bits
        )

    def _check_steps(self, engines: Engines) -> None:
        options = self.options
        most = max(engine.steps for engine in engines.presets.values())
        if self._steps > most:
            raise ResiduumError(
                f"tau {options.tau} and T {options.T} are {self._steps} steps; the engines of "
                f"{engines.board} have {most}"
            )


def choose(
    rough: Rough,
    engines: Engines,
    tried: Sequence[Widths],
    to_integers: Callable[[Options], Imported],
) -> tuple[Choice, Imported]:
    """The first of `Rough.choices` that fits with its final weights too, and the import.

    ``to_integers`` converts the network without fine-tuning. Errors are those of `Rough.choices`.
    """
    imported: Imported | None = None
    preset = ""
    for choice in rough.choices(engines, tried):
        preset, imported = choice.preset, to_integers(choice.options)
        if not engines.exceeded(preset, imported.conversion.network):
            return choice, imported
    assert imported is not None
    raise _refusal(engines, {preset: imported.conversion.network})


def _refusal(engines: Engines, networks: Mapping[str, IntegerNetwork]) -> ResiduumError:
    """Why no engine holds the network: the first need of the one that lacks the least."""
    lacks = {preset: engines.exceeded(preset, network) for preset, network in networks.items()}
    preset = min((name for name in lacks if lacks[name]), key=lambda name: len(lacks[name]))
    need, network = lacks[preset][0], networks[preset]
    cures = f"; what helps: {'; or '.join(need.cures)}" if need.cures else ""
    return ResiduumError(
        f"{engines.board} does not hold {network.name!r} even with weights of "
        f"{network.weight_bits} bits: {need.sentence} (preset {preset}){cures}"
    )
