// The accelerator as a child process: standard input feeds its link, standard output receives its
// bytes. While the accelerator is idle and no byte is waiting, no cycles are simulated.
//
//   --cycles        print the number of cycles to standard error at the end
//   --marked        standard input holds pairs of bytes: a kind (`Kind` below) and a value
//   --bit-cycles X  for a top with UART pins: cycles per bit, not necessarily a whole number
//
// The top is an Accelerator (sim/link/simulated.py), with RESIDUUM_PINS an Accelerator and a UART.
#include <poll.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

enum Kind : uint8_t {
    kByte = 0,    // a byte for the link
    kDamage = 1,  // a byte with a framing error
    kQuiet = 2,   // wait until the accelerator is idle (the value is ignored)
    kPause = 3,   // wait for `value` cycles
};

struct Symbol {
    uint8_t kind;
    uint8_t value;
};

// An accelerator that is not busy for this many cycles is idle until the next byte. The margin
// covers the registers between an incoming byte and `busy`.
constexpr uint64_t kIdleCycles = 64;
// Cycles between two polls of standard input: a poll costs far more than a cycle.
constexpr uint64_t kLookCycles = 64;
// An engine that is still busy this many cycles after the end of the input counts as hung.
constexpr uint64_t kLastCycles = 100'000'000;

// Standard input as symbols.
class Input {
public:
    explicit Input(bool marked) : marked_(marked) {}

    // Read the available bytes; with `wait`, block until there are some.
    void fetch(bool wait) {
        pollfd look{STDIN_FILENO, POLLIN, 0};
        if (ended_ || poll(&look, 1, wait ? -1 : 0) <= 0) return;
        uint8_t bytes[65536];
        const ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
        if (count <= 0) ended_ = true;
        for (ssize_t index = 0; index < count; ++index) {
            if (!marked_) {
                symbols_.push_back({kByte, bytes[index]});
            } else if (half_) {
                symbols_.push_back({kind_, bytes[index]});
                half_ = false;
            } else {
                kind_ = bytes[index];
                half_ = true;
            }
        }
    }
    bool ended() const { return ended_; }
    bool empty() const { return symbols_.empty(); }
    Symbol front() const { return symbols_.front(); }
    void pop() { symbols_.pop_front(); }

private:
    bool marked_, half_ = false, ended_ = false;
    uint8_t kind_ = 0;
    std::deque<Symbol> symbols_;
};

class Output {
public:
    void put(uint8_t byte) { bytes_.push_back(byte); }
    void flush() {
        for (size_t done = 0; done < bytes_.size();) {
            const ssize_t count = write(STDOUT_FILENO, &bytes_[done], bytes_.size() - done);
            if (count < 0) std::exit(1);
            done += count;
        }
        bytes_.clear();
    }

private:
    std::vector<uint8_t> bytes_;
};

#ifdef RESIDUUM_PINS

// UART of the host, with its own clock: 8 data bits, no parity, one stop bit.
class Far {
public:
    Far(Vtop& top, double bit_cycles) : top_(top), bit_(bit_cycles) { top_.serial_rx = 1; }

    bool free() const { return sent_ == bits_; }
    void send(const Symbol& symbol) {
        // A high bit follows a damaged (low) stop bit, so that the next start bit is an edge.
        frame_ = symbol.value << 1 | (symbol.kind == kDamage ? 1 << 10 : 3 << 9);
        bits_ = symbol.kind == kDamage ? kBits + 1 : kBits;
        sent_ = 0;
        until_ = bit_;
    }
    void drive() {
        top_.serial_rx = free() ? 1 : frame_ >> sent_ & 1;
        if (!free() && (until_ -= 1) <= 0) {
            ++sent_;
            until_ += bit_;
        }
    }
    // Sample the line, put complete bytes into the output, return whether a byte is on the line.
    bool receive(Output& output) {
        if (heard_ < 0) {
            if (top_.serial_tx) return false;
            heard_ = 0;
            sample_ = bit_ / 2;
            byte_ = 0;
        }
        if ((sample_ -= 1) > 0) return true;
        sample_ += bit_;
        byte_ |= top_.serial_tx << heard_;
        if (++heard_ < kBits) return true;
        const bool sound = !(byte_ & 1) && byte_ >> 9;
        if (!sound) {
            std::fprintf(stderr, "residuum: the stop bit of a byte from the device is missing\n");
            std::exit(1);
        }
        output.put(byte_ >> 1);
        heard_ = -1;
        return true;
    }

private:
    static constexpr int kBits = 10;
    Vtop& top_;
    double bit_, until_ = 0, sample_ = 0;
    int bits_ = kBits, sent_ = kBits, heard_ = -1;
    unsigned frame_ = 0, byte_ = 0;
};

#else

// Byte streams without a UART, one byte per cycle.
class Far {
public:
    Far(Vtop& top, double) : top_(top) { top_.tx___05Fready = 1; }

    bool free() const { return !waiting_; }
    void send(const Symbol& symbol) {
        symbol_ = symbol;
        waiting_ = true;
    }
    void drive() {
        top_.rx___05Fpayload = symbol_.value;
        top_.rx___05Fvalid = waiting_ && symbol_.kind == kByte;
        top_.rx_damaged = waiting_ && symbol_.kind == kDamage;
    }
    bool receive(Output& output) {
        if (symbol_.kind == kDamage || top_.rx___05Fready) waiting_ = false;
        if (!top_.tx___05Fvalid) return false;
        output.put(top_.tx___05Fpayload);
        return true;
    }

private:
    Vtop& top_;
    Symbol symbol_{};
    bool waiting_ = false;
};

#endif

void serve(Vtop& top, Input& input, double bit_cycles, uint64_t& cycle) {
    Far far(top, bit_cycles);
    Output output;
    // A UART delays a byte by up to 20 bit times.
    const uint64_t idle = kIdleCycles + static_cast<uint64_t>(20 * bit_cycles);
    uint64_t quiet = 0, pause = 0, ended = 0;
    for (;; ++cycle, ++quiet) {
        if (input.empty() && far.free()) {
            if (quiet >= idle || (input.ended() && ++ended > kLastCycles)) {
                output.flush();
                if (input.ended()) return;
                input.fetch(true);
            } else if (cycle % kLookCycles == 0) {
                output.flush();
                input.fetch(false);
            }
        }
        top.rst = cycle < 4;
        if (pause > 0) {
            --pause;
        } else if (!top.rst && far.free() && !input.empty()) {
            const Symbol symbol = input.front();
            const bool held = symbol.kind == kQuiet && quiet < idle;
            if (!held) input.pop();
            if (symbol.kind == kPause) pause = symbol.value;
            if (symbol.kind <= kDamage) {
                far.send(symbol);
                quiet = 0;
            }
        }
        far.drive();
        top.clk = 0;
        top.eval();
        if (far.receive(output) || top.busy) quiet = 0;
        top.clk = 1;
        top.eval();
    }
}

}  // namespace

int main(int argc, char** argv) {
    bool cycles = false, marked = false;
    double bit_cycles = 0;
    for (int index = 1; index < argc; ++index) {
        if (!std::strcmp(argv[index], "--cycles")) {
            cycles = true;
        } else if (!std::strcmp(argv[index], "--marked")) {
            marked = true;
        } else if (!std::strcmp(argv[index], "--bit-cycles") && index + 1 < argc) {
            bit_cycles = std::atof(argv[++index]);
        } else {
            std::fprintf(stderr, "residuum: no such option: %s\n", argv[index]);
            return 2;
        }
    }
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop top(&context);
    Input input(marked);
    uint64_t cycle = 0;
    serve(top, input, bit_cycles, cycle);
    if (cycles) std::fprintf(stderr, "%llu\n", static_cast<unsigned long long>(cycle));
    top.final();
    return 0;
}
