// Faults that tests/sim/test_netlist.py adds at a DP16KD; an environment variable selects one by
// its number.
import "DPI-C" function int residuum_fault();

// Fault: the address pin reads 0.
module fault_tied #(
    parameter NUMBER = 0
) (
    input  wire good,
    output wire pin
);
  /*verilator inline_module*/
  reg active;
  initial active = residuum_fault() == NUMBER;
  assign pin = good & ~active;
endmodule

// Fault: the pin is connected to the signal `other`.
module fault_other #(
    parameter NUMBER = 0
) (
    input  wire good,
    input  wire other,
    output wire pin
);
  /*verilator inline_module*/
  reg active;
  initial active = residuum_fault() == NUMBER;
  assign pin = active ? other : good;
endmodule
