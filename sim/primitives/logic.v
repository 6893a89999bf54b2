// Combinational cells of an ECP5 slice, after Lattice's ECP5 family data sheet (FPGA-DS-02012, the
// modes of a slice) and the FPGA libraries reference guide. An open input of a LUT reads 1 on ECP5:
// sim/netlist/netlist.py connects it so.

// LUT with four inputs; A is the lowest bit of the index.
module LUT4 #(
    parameter [15:0] INIT = 16'h0000
) (
    input  wire A,
    input  wire B,
    input  wire C,
    input  wire D,
    output wire Z
);
  /*verilator inline_module*/
  assign Z = INIT[{D, C, B, A}];
endmodule

// Multiplexer that joins the two LUTs of a half slice into a LUT with five inputs.
module PFUMX (
    input  wire ALUT,
    input  wire BLUT,
    input  wire C0,
    output wire Z
);
  /*verilator inline_module*/
  assign Z = C0 ? ALUT : BLUT;
endmodule

// Multiplexer that joins two LUTs with five (or six) inputs into a LUT with six (or seven).
module L6MUX21 (
    input  wire D0,
    input  wire D1,
    input  wire SD,
    output wire Z
);
  /*verilator inline_module*/
  assign Z = SD ? D1 : D0;
endmodule

// One bit of a carry chain. The LUT computes the propagate signal. If it is 0, the carry out is bit
// {B, A} of LUT bits 3..0. With INJECT1, the sum ignores the carry in and this bit generates no
// carry; it still propagates one.
module residuum_carry #(
    parameter [15:0] INIT = 16'h0000,
    parameter INJECT1 = "NO"
) (
    input  wire A,
    input  wire B,
    input  wire C,
    input  wire D,
    input  wire CIN,
    output wire S,
    output wire COUT
);
  /*verilator inline_module*/
  wire propagate = INIT[{D, C, B, A}];
  generate
    if (INJECT1 == "YES") begin : injected
      assign S = propagate;
      assign COUT = propagate & CIN;
    end else begin : chained
      assign S = propagate ^ CIN;
      assign COUT = propagate ? CIN : INIT[{2'b00, B, A}];
    end
  endgenerate
endmodule

module CCU2C #(
    parameter [15:0] INIT0 = 16'h0000,
    parameter [15:0] INIT1 = 16'h0000,
    parameter INJECT1_0 = "YES",
    parameter INJECT1_1 = "YES"
) (
    input  wire CIN,
    input  wire A0,
    input  wire B0,
    input  wire C0,
    input  wire D0,
    input  wire A1,
    input  wire B1,
    input  wire C1,
    input  wire D1,
    output wire S0,
    output wire S1,
    output wire COUT
);
  /*verilator inline_module*/
  wire carry;
  residuum_carry #(.INIT(INIT0), .INJECT1(INJECT1_0)) low(
      .A(A0), .B(B0), .C(C0), .D(D0), .CIN(CIN), .S(S0), .COUT(carry));
  residuum_carry #(.INIT(INIT1), .INJECT1(INJECT1_1)) high(
      .A(A1), .B(B1), .C(C1), .D(D1), .CIN(carry), .S(S1), .COUT(COUT));
endmodule

// A LUT placed by nextpnr, in one of the modes of its slice. IS_Z1 marks the upper LUT of a half
// slice, whose multiplexer is an L6MUX21; the lower LUT has a PFUMX. sim/netlist/netlist.py sets
// IS_Z1 from the placement.
module TRELLIS_COMB #(
    parameter MODE = "LOGIC",
    parameter [15:0] INITVAL = 16'h0000,
    parameter CCU2_INJECT1 = "NO",
    parameter WCKMUX = "WCK",
    parameter WREMUX = "WRE",
    parameter IS_Z1 = 1'b0
) (
    input  wire A,
    input  wire B,
    input  wire C,
    input  wire D,
    input  wire M,
    input  wire FCI,
    input  wire F1,
    input  wire FXA,
    input  wire FXB,
    input  wire WD,
    input  wire WAD0,
    input  wire WAD1,
    input  wire WAD2,
    input  wire WAD3,
    input  wire WRE,
    input  wire WCK,
    output wire F,
    output wire FCO,
    output wire OFX
);
  /*verilator inline_module*/
  generate
    if (MODE == "LOGIC") begin : logic_
      assign F = INITVAL[{D, C, B, A}];
      assign FCO = 1'b0;
    end else if (MODE == "CCU2") begin : ccu2
      residuum_carry #(.INIT(INITVAL), .INJECT1(CCU2_INJECT1)) bit_(
          .A(A), .B(B), .C(C), .D(D), .CIN(FCI), .S(F), .COUT(FCO));
    end else if (MODE == "DPRAM") begin : dpram
      // One bit of a TRELLIS_DPR16X4; nextpnr connects the read address to D, B, C, A, lowest first.
      wire clock = WCKMUX == "INV" ? ~WCK : WCK;
      wire write = WREMUX == "1" ? 1'b1 : WREMUX == "0" ? 1'b0 : WREMUX == "INV" ? ~WRE : WRE;
      reg [15:0] words = INITVAL;
      always @(posedge clock) if (write) words[{WAD3, WAD2, WAD1, WAD0}] <= WD;
      assign F = words[{A, C, B, D}];
      assign FCO = 1'b0;
    end else if (MODE == "RAMW_BLOCK") begin : ramw_block
      // The write port of a memory (TRELLIS_RAMW) occupies this LUT.
      assign F = 1'b0;
      assign FCO = 1'b0;
    end else begin : other
      $error("no model of TRELLIS_COMB in mode %s", MODE);
    end
    if (IS_Z1) begin : wide
      assign OFX = M ? FXB : FXA;
    end else begin : five
      assign OFX = M ? F1 : F;
    end
  endgenerate
endmodule
