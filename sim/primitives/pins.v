// Pins and clock lines of ECP5, as in nextpnr's netlists. Tristate, I/O registers and clock enables
// are not modelled and have no port here: a netlist that uses them does not compile.

// TRELLIS_IO with DIR "INPUT" and "OUTPUT". sim/netlist/netlist.py adds the direction to the name,
// since a Verilog parameter cannot choose the direction of a port.
module TRELLIS_IO_INPUT #(
    parameter DIR = "INPUT",
    parameter DATAMUX_ODDR = "PADDO",
    parameter DATAMUX_MDDR = "PADDO"
) (
    input  wire B,
    output wire O
);
  /*verilator inline_module*/
  assign O = B;
endmodule

module TRELLIS_IO_OUTPUT #(
    parameter DIR = "OUTPUT",
    parameter DATAMUX_ODDR = "PADDO",
    parameter DATAMUX_MDDR = "PADDO"
) (
    input  wire I,
    output wire B
);
  /*verilator inline_module*/
  assign B = I;
endmodule

// Buffer of a global clock line.
module DCCA (
    input  wire CLKI,
    output wire CLKO
);
  /*verilator inline_module*/
  assign CLKO = CLKI;
endmodule
