// Registers and memories of an ECP5 slice, after Lattice's ECP5 family data sheet (FPGA-DS-02012) and
// the memory usage guide (FPGA-TN-02204, distributed memory).

// A register with clock enable and a local set or reset. It powers up with its reset value. nextpnr
// sets SD: with "0" the data comes from M, which bypasses the LUT; with "1" from DI.
module TRELLIS_FF #(
    parameter GSR = "ENABLED",
    parameter CEMUX = "1",
    parameter CLKMUX = "CLK",
    parameter LSRMUX = "LSR",
    parameter SRMODE = "LSR_OVER_CE",
    parameter REGSET = "RESET",
    parameter LSRMODE = "LSR",
    parameter SD = "1"
) (
    input  wire CLK,
    input  wire LSR,
    input  wire CE,
    input  wire DI,
    input  wire M ,
    output reg  Q
);
  /*verilator inline_module*/
  wire clock = CLKMUX == "INV" ? ~CLK : CLK;
  wire reset = LSRMUX == "INV" ? ~LSR : LSR;
  wire enable = CEMUX == "1" ? 1'b1 : CEMUX == "0" ? 1'b0 : CEMUX == "INV" ? ~CE : CE;
  wire data = SD == "0" ? M : DI;
  localparam VALUE = REGSET == "SET";

  initial Q = VALUE;

  generate
    if (LSRMODE != "LSR") begin : preload
      $error("no model of TRELLIS_FF with LSRMODE %s", LSRMODE);
    end
    if (SRMODE == "ASYNC") begin : asynchronous
      always @(posedge clock, posedge reset)
        if (reset) Q <= VALUE;
        else if (enable) Q <= data;
    end else if (SRMODE == "LSR_OVER_CE") begin : over_enable
      always @(posedge clock)
        if (reset) Q <= VALUE;
        else if (enable) Q <= data;
    end else begin : other
      $error("no model of TRELLIS_FF with SRMODE %s", SRMODE);
    end
  endgenerate
endmodule

// 16 words of 4 bits: written at the clock, read asynchronously.
module TRELLIS_DPR16X4 #(
    parameter WCKMUX = "WCK",
    parameter WREMUX = "WRE",
    parameter [63:0] INITVAL = 64'h0
) (
    input  wire [3:0] DI,
    input  wire [3:0] WAD,
    input  wire WRE,
    input  wire WCK,
    input  wire [3:0] RAD,
    output wire [3:0] DO
);
  /*verilator inline_module*/
  wire clock = WCKMUX == "INV" ? ~WCK : WCK;
  wire write = WREMUX == "1" ? 1'b1 : WREMUX == "0" ? 1'b0 : WREMUX == "INV" ? ~WRE : WRE;
  reg [63:0] words = INITVAL;
  always @(posedge clock) if (write) words[{WAD, 2'b00} +: 4] <= DI;
  assign DO = words[{RAD, 2'b00} +: 4];
endmodule

// Connects data and write address to the four LUTs that hold a TRELLIS_DPR16X4.
module TRELLIS_RAMW (
    input  wire A0,
    input  wire B0,
    input  wire C0,
    input  wire D0,
    input  wire A1,
    input  wire B1,
    input  wire C1,
    input  wire D1,
    output wire WADO0,
    output wire WADO1,
    output wire WADO2,
    output wire WADO3,
    output wire WDO0,
    output wire WDO1,
    output wire WDO2,
    output wire WDO3
);
  /*verilator inline_module*/
  assign {WADO3, WADO2, WADO1, WADO0} = {A0, C0, B0, D0};
  assign {WDO3, WDO2, WDO1, WDO0} = {B1, D1, A1, C1};
endmodule
