// Cells that tests/sim/test_netlist.py puts beside a DP16KD: only the fault whose number the
// environment names is there.
import "DPI-C" function int residuum_fault();

// The address pin reads 0.
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

// What another cell says instead.
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
