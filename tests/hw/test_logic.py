from amaranth.hdl import Cat, Module, Signal

from residuum.hw.logic import below
from tests.hw.simulation import simulate


def test_below_every_limit_is_less():
    module, value = Module(), Signal(6)
    limits = range(1, 80)
    found = Signal(len(limits))
    module.d.sync += found.eq(Cat(below(value, limit) for limit in limits))

    async def testbench(ctx):
        for number in range(64):
            ctx.set(value, number)
            await ctx.tick()
            assert ctx.get(found) == sum((number < limit) << i for i, limit in enumerate(limits))

    simulate(module, testbench)
