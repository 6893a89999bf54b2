// Runs a MemoryBoard. Each line of standard input is a step of the memory tester:
//
//   PATTERN FIRST COUNT WRITING READING SEED PAUSE UNREFRESHED
//
// PAUSE is in cycles, after the test. Prints a line for each:
//
//   CYCLES ERRORS BAD_BITS FIRST_BAD EXPECTED READ SEEN
#include <cstdint>
#include <cstdio>

#include "Vtop.h"
#include "verilated.h"

namespace {

Vtop* top;

void cycle() {
    top->clk = 1;
    top->eval();
    top->clk = 0;
    top->eval();
}

}  // namespace

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    top = new Vtop(&context);
    top->rst = 0;
    top->start = 0;
    top->clk = 0;
    top->eval();
    unsigned pattern, first, count, writing, reading, seed, pause, unrefreshed;
    while (std::scanf("%u %u %u %u %u %u %u %u", &pattern, &first, &count, &writing, &reading,
                      &seed, &pause, &unrefreshed) == 8) {
        top->pattern = pattern;
        top->first = first;
        top->count = count;
        top->writing = writing;
        top->reading = reading;
        top->seed = seed;
        top->unrefreshed = unrefreshed;
        top->start = 1;
        cycle();
        top->start = 0;
        uint64_t cycles = 0;
        for (; top->busy; ++cycles) cycle();
        std::printf("%llu %u %u %u %u %u ", (unsigned long long)cycles, (unsigned)top->errors,
                    (unsigned)top->bad_bits, (unsigned)top->first_bad,
                    (unsigned)top->first_expected, (unsigned)top->first_read);
        for (unsigned left = pause; left > 0; --left) cycle();
        std::printf("%u\n", (unsigned)top->seen);
    }
    top->final();
    delete top;
    return 0;
}
