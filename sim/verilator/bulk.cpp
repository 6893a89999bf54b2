// The C++ part of the bulk mover. Python fills a queue of commands through ctypes; the simulated clock
// calls residuum_bulk_tick once per cycle (bulk.sv). Python owns the buffers and keeps them alive until
// the queue is empty.
#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>

namespace {

enum class Kind { write, write_scattered, read, wait_idle, delay };

struct Command {
    Kind kind;
    uint32_t address;
    uint32_t increment;
    uint32_t count;
    const uint32_t* addresses;
    const uint32_t* words;
    uint32_t* answers;
    uint64_t timeout;
};

// A write is driven one cycle after the tick that issued it, and `busy` rises one cycle later.
constexpr uint64_t kBusyDelay = 2;
constexpr uint64_t kNeverWritten = ~uint64_t{0};

uint32_t address_width = 0;
uint64_t cycle = 0;
uint64_t last_write = kNeverWritten;
std::deque<Command> queue;
uint32_t issued = 0;    // words of the front command that were written or requested
uint32_t answered = 0;  // words of the front command that were received
uint64_t waited = 0;    // cycles without progress of the front command
uint64_t stale = 0;     // outstanding answers to a cancelled read
std::string failure;

std::string describe(const Command& command) {
    char text[160];
    switch (command.kind) {
    case Kind::write:
        std::snprintf(text, sizeof text, "write(address=0x%x, %u words)", command.address,
                      command.count);
        break;
    case Kind::write_scattered:
        std::snprintf(text, sizeof text, "write_scattered(%u words)", command.count);
        break;
    case Kind::read:
        std::snprintf(text, sizeof text, "read(address=0x%x, count=%u)", command.address,
                      command.count);
        break;
    case Kind::wait_idle: std::snprintf(text, sizeof text, "wait_idle()"); break;
    case Kind::delay: std::snprintf(text, sizeof text, "delay(%u)", command.count); break;
    }
    return text;
}

void next_command() {
    queue.pop_front();
    issued = answered = 0;
    waited = 0;
}

void fail(const std::string& reason) {
    if (failure.empty()) {
        failure = queue.empty() ? reason : describe(queue.front()) + ": " + reason;
    }
    if (!queue.empty() && queue.front().kind == Kind::read) stale += issued - answered;
    queue.clear();
    issued = answered = 0;
    waited = 0;
}

void take_answer(uint32_t word) {
    if (stale) {
        --stale;
    } else if (!queue.empty() && queue.front().kind == Kind::read && answered < issued) {
        queue.front().answers[answered++] = word;
        waited = 0;
    } else {
        fail("read_valid rose although no read was waiting for an answer");
    }
}

void give_up(const Command& command, bool rst) {
    std::string reason;
    const std::string cycles = std::to_string(command.timeout) + " cycles";
    if (rst) {
        reason = "rst was held for " + cycles;
    } else if (command.kind == Kind::read) {
        reason = std::to_string(answered) + " of " + std::to_string(command.count) +
                 " words were answered, then none for " + cycles;
    } else {
        reason = "busy was still high after " + cycles;
    }
    fail(reason);
}

}  // namespace

extern "C" {

void residuum_bulk_attach(uint32_t width) { address_width = width; }

void residuum_bulk_tick(uint8_t rst, uint8_t busy, uint8_t read_valid, uint32_t read_data,
                        uint32_t* address, uint32_t* write_data, uint32_t* flags) {
    constexpr uint32_t kWrite = 1, kRead = 2, kIdle = 4;
    *address = *write_data = *flags = 0;
    ++cycle;
    if (rst) {
        // A reset drops all requests in the design, so restart the front command.
        stale = 0;
        issued = answered = 0;
        last_write = kNeverWritten;
    } else if (read_valid) {
        take_answer(read_data);
    }
    if (queue.empty()) {
        *flags = kIdle;
        return;
    }
    Command& command = queue.front();
    if (waited++ == command.timeout) {
        give_up(command, rst);
        return;
    }
    if (rst) return;
    switch (command.kind) {
    case Kind::write:
    case Kind::write_scattered:
        *address = command.addresses ? command.addresses[issued]
                                     : command.address + issued * command.increment;
        *write_data = command.words[issued];
        *flags = kWrite;
        last_write = cycle;
        waited = 0;
        if (++issued == command.count) next_command();
        break;
    case Kind::read:
        if (issued < command.count) {
            *address = command.address + issued++ * command.increment;
            *flags = kRead;
        } else if (answered == command.count) {
            next_command();
        }
        break;
    case Kind::wait_idle:
        if (!busy && (last_write == kNeverWritten || cycle - last_write >= kBusyDelay)) {
            next_command();
        }
        break;
    case Kind::delay:
        if (waited >= command.count) next_command();
        break;
    }
}

uint32_t residuum_bulk_address_width() { return address_width; }
uint64_t residuum_bulk_cycle() { return cycle; }

// Returns and clears the error that dropped the queue; an empty string if there was none.
const char* residuum_bulk_take_failure() {
    static std::string taken;
    taken.swap(failure);
    failure.clear();
    return taken.c_str();
}

void residuum_bulk_write(uint32_t address, uint32_t increment, uint32_t count,
                         const uint32_t* words, uint64_t timeout) {
    queue.push_back({Kind::write, address, increment, count, nullptr, words, nullptr, timeout});
}

void residuum_bulk_write_scattered(uint32_t count, const uint32_t* addresses,
                                   const uint32_t* words, uint64_t timeout) {
    queue.push_back({Kind::write_scattered, 0, 0, count, addresses, words, nullptr, timeout});
}

void residuum_bulk_read(uint32_t address, uint32_t increment, uint32_t count, uint32_t* answers,
                        uint64_t timeout) {
    queue.push_back({Kind::read, address, increment, count, nullptr, nullptr, answers, timeout});
}

void residuum_bulk_wait_idle(uint64_t timeout) {
    queue.push_back({Kind::wait_idle, 0, 0, 0, nullptr, nullptr, nullptr, timeout});
}

void residuum_bulk_delay(uint32_t cycles) {
    queue.push_back({Kind::delay, 0, 0, cycles, nullptr, nullptr, nullptr, ~uint64_t{0}});
}
}
