// DP16KD: 18 Kbit block memory with two ports, after Lattice's memory usage guide (FPGA-TN-02204,
// formerly TN1264) and the FPGA libraries reference guide. The bit order on the pins and in the
// array also follows yosys, which maps memories to this cell.
//
// * The array has 1024 rows of 18 bits, as two 9-bit bytes. The low address bits of a port of 9, 4,
//   2 or 1 bits select a byte, nibble, pair or bit of the row; the last three skip the ninth bits.
//   A port of 18 bits accesses a whole row; address bits 1..0 of a write are byte enables.
// * DATA_WIDTH_A = 36 is the pseudo dual port mode: A writes two rows from {DIB, DIA}, with address
//   bits 3..0 as byte enables; B reads 36 bits to {DOB, DOA}, or fewer bits to DOB.
// * CE enables the port, OCE its output register (REGMODE "OUTREG"). CS must equal CSDECODE.
// * WRITEMODE selects the output after a write: unchanged (NORMAL), the new word (WRITETHROUGH) or
//   the old word (READBEFOREWRITE).
// * RST clears latch and output register, asynchronously or at the clock (RESETMODE), regardless of
//   CE. It blocks writes. The array keeps its contents.
// * Row r begins as bits 20 * (r % 16) +: 18 of INITVAL_xx, xx = r / 16 in hexadecimal.
// * Each pin has a multiplexer: "0", "1", "INV" (inverted) or the pin's name; an open pin reads 1
//   on ECP5 (sim/netlist/netlist.py connects it so).
//
// The guide does not define what a port reads from bits that the other port writes in the same
// cycle. This model inverts these bits, so that a design that depends on them fails. Two ports that
// write to the same pair of rows in a cycle must have the same clock.
module residuum_dp16kd #(
    parameter WIDTH_A = 18,
    parameter WIDTH_B = 18,
    parameter REGMODE_A = "NOREG",
    parameter REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC",
    parameter WRITEMODE_A = "NORMAL",
    parameter WRITEMODE_B = "NORMAL",
    parameter [20479:0] INIT = 20480'h0
) (
    input  wire        clock_a,
    input  wire        enable_a,
    input  wire        output_enable_a,
    input  wire        write_a,
    input  wire        reset_a,
    input  wire [13:0] address_a,
    input  wire [17:0] data_a,
    output wire [17:0] out_a,
    input  wire        clock_b,
    input  wire        enable_b,
    input  wire        output_enable_b,
    input  wire        write_b,
    input  wire        reset_b,
    input  wire [13:0] address_b,
    input  wire [17:0] data_b,
    output wire [17:0] out_b
);
  localparam PSEUDO = WIDTH_A == 36;

  generate
    if (PSEUDO && REGMODE_A != REGMODE_B) begin : registers
      $error("36 bits need the same REGMODE on both ports, not %s and %s", REGMODE_A, REGMODE_B);
    end
    if (WIDTH_B == 36 && !PSEUDO) begin : widths
      $error("36 bits are read only where 36 are written");
    end
  endgenerate

  // Two rows, the unit of every access.
  reg [35:0] pairs[0:511];
  integer index;
  initial
    for (index = 0; index < 512; index = index + 1)
      pairs[index] = {INIT[40 * index + 20 +: 18], INIT[40 * index +: 18]};

  // Masks of a word: right-aligned (`ones`), and at its position in a pair of rows (`bits`).
  function automatic [35:0] ones(input integer width);
    ones = 36'hFFFFFFFFF >> (36 - width);
  endfunction

  function automatic [5:0] place(input integer width, input [13:0] address);
    reg [2:0] low;
    begin
      low = address[2:0] & ~(width == 1 ? 3'd0 : width == 2 ? 3'd1 : width == 4 ? 3'd3 : 3'd7);
      place = width == 36 ? 6'd0 : address[4] ? 6'd18 : 6'd0;
      if (width <= 9) place = place + (address[3] ? 6'd9 : 6'd0) + {3'b000, low};
    end
  endfunction

  function automatic [35:0] bits(input integer width, input [13:0] address);
    reg [35:0] chosen;
    begin
      chosen = ones(width);
      if (width >= 18) chosen[17:0] = {{9{address[1]}}, {9{address[0]}}};
      if (width == 36) chosen[35:18] = {{9{address[3]}}, {9{address[2]}}};
      bits = chosen << place(width, address);
    end
  endfunction

  wire [5:0] place_a = place(WIDTH_A, address_a);
  wire [5:0] place_b = place(WIDTH_B, address_b);
  wire writes_a = enable_a & write_a & ~reset_a;
  wire writes_b = enable_b & write_b & ~reset_b & ~PSEUDO;
  wire [35:0] bits_a = writes_a ? bits(WIDTH_A, address_a) : 36'd0;
  wire [35:0] bits_b = writes_b ? bits(WIDTH_B, address_b) : 36'd0;
  wire [35:0] new_a = {PSEUDO ? data_b : 18'd0, data_a} << place_a;
  wire [35:0] new_b = {18'd0, data_b} << place_b;

  wire same = address_a[13:5] == address_b[13:5];
  wire [35:0] stored_a = pairs[address_a[13:5]];
  wire [35:0] stored_b = pairs[address_b[13:5]];
  // If both ports write to the same pair of rows in a cycle, each stores the bits of both.
  always @(posedge clock_a)
    if (writes_a)
      pairs[address_a[13:5]] <= same
          ? stored_a & ~(bits_a | bits_b) | new_a & bits_a | new_b & bits_b
          : stored_a & ~bits_a | new_a & bits_a;
  always @(posedge clock_b)
    if (writes_b)
      pairs[address_b[13:5]] <= same
          ? stored_b & ~(bits_a | bits_b) | new_a & bits_a | new_b & bits_b
          : stored_b & ~bits_b | new_b & bits_b;

  wire [35:0] pair_a = stored_a ^ (same ? bits_b : 36'd0);
  wire [35:0] pair_b = stored_b ^ (same ? bits_a : 36'd0);
  wire [35:0] seen_a = WRITEMODE_A == "WRITETHROUGH" ? pair_a & ~bits_a | new_a & bits_a : pair_a;
  wire [35:0] seen_b = WRITEMODE_B == "WRITETHROUGH" ? pair_b & ~bits_b | new_b & bits_b : pair_b;

  wire [35:0] word_a, word_b;
  residuum_dp16kd_output #(.REGMODE(REGMODE_A), .RESETMODE(RESETMODE)) read_a(
      .clock(clock_a), .reset(reset_a), .output_enable(output_enable_a),
      .enable(enable_a & (~write_a | WRITEMODE_A != "NORMAL")),
      .word(seen_a >> place_a & ones(WIDTH_A)), .out(word_a));
  residuum_dp16kd_output #(.REGMODE(REGMODE_B), .RESETMODE(RESETMODE)) read_b(
      .clock(clock_b), .reset(reset_b), .output_enable(output_enable_b),
      .enable(enable_b & (~write_b | WRITEMODE_B != "NORMAL")),
      .word(seen_b >> place_b & ones(WIDTH_B)), .out(word_b));
  assign out_a = PSEUDO ? (WIDTH_B == 36 ? word_b[17:0] : 18'd0) : word_a[17:0];
  assign out_b = WIDTH_B == 36 ? word_b[35:18] : word_b[17:0];
endmodule

// The latch of a port, and its output register.
module residuum_dp16kd_output #(
    parameter REGMODE = "NOREG",
    parameter RESETMODE = "SYNC"
) (
    input  wire        clock,
    input  wire        reset,
    input  wire        enable,
    input  wire        output_enable,
    input  wire [35:0] word,
    output wire [35:0] out
);
  /*verilator inline_module*/
  reg [35:0] latch = 36'd0;
  reg [35:0] register = 36'd0;
  generate
    if (RESETMODE == "ASYNC") begin : asynchronous
      always @(posedge clock, posedge reset)
        if (reset) latch <= 36'd0;
        else if (enable) latch <= word;
      always @(posedge clock, posedge reset)
        if (reset) register <= 36'd0;
        else if (output_enable) register <= latch;
    end else begin : synchronous
      always @(posedge clock)
        if (reset) latch <= 36'd0;
        else if (enable) latch <= word;
      always @(posedge clock)
        if (reset) register <= 36'd0;
        else if (output_enable) register <= latch;
    end
  endgenerate
  assign out = REGMODE == "OUTREG" ? register : latch;
endmodule

// The cell of the netlists: residuum_dp16kd with the multiplexers of the pins.
`define PIN(pin) (pin``MUX == "0" ? 1'b0 : pin``MUX == "1" ? 1'b1 : pin``MUX == "INV" ? ~pin : pin)
module DP16KD #(
    parameter DATA_WIDTH_A = 18,
    parameter DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG",
    parameter REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC",
    parameter ASYNC_RESET_RELEASE = "SYNC",
    parameter [39:0] CSDECODE_A = "0b000",
    parameter [39:0] CSDECODE_B = "0b000",
    parameter WRITEMODE_A = "NORMAL",
    parameter WRITEMODE_B = "NORMAL",
    parameter GSR = "ENABLED",
    parameter WID = 0,
    parameter INIT_DATA = "STATIC",
    parameter CLKAMUX = "CLKA", CEAMUX = "CEA", OCEAMUX = "OCEA", WEAMUX = "WEA",
      RSTAMUX = "RSTA",
    parameter CSA2MUX = "CSA2", CSA1MUX = "CSA1", CSA0MUX = "CSA0",
    parameter ADA13MUX = "ADA13", ADA12MUX = "ADA12", ADA11MUX = "ADA11", ADA10MUX = "ADA10",
      ADA9MUX = "ADA9", ADA8MUX = "ADA8", ADA7MUX = "ADA7", ADA6MUX = "ADA6", ADA5MUX = "ADA5",
      ADA4MUX = "ADA4", ADA3MUX = "ADA3", ADA2MUX = "ADA2", ADA1MUX = "ADA1", ADA0MUX = "ADA0",
    parameter DIA17MUX = "DIA17", DIA16MUX = "DIA16", DIA15MUX = "DIA15", DIA14MUX = "DIA14",
      DIA13MUX = "DIA13", DIA12MUX = "DIA12", DIA11MUX = "DIA11", DIA10MUX = "DIA10",
      DIA9MUX = "DIA9", DIA8MUX = "DIA8", DIA7MUX = "DIA7", DIA6MUX = "DIA6", DIA5MUX = "DIA5",
      DIA4MUX = "DIA4", DIA3MUX = "DIA3", DIA2MUX = "DIA2", DIA1MUX = "DIA1", DIA0MUX = "DIA0",
    parameter CLKBMUX = "CLKB", CEBMUX = "CEB", OCEBMUX = "OCEB", WEBMUX = "WEB",
      RSTBMUX = "RSTB",
    parameter CSB2MUX = "CSB2", CSB1MUX = "CSB1", CSB0MUX = "CSB0",
    parameter ADB13MUX = "ADB13", ADB12MUX = "ADB12", ADB11MUX = "ADB11", ADB10MUX = "ADB10",
      ADB9MUX = "ADB9", ADB8MUX = "ADB8", ADB7MUX = "ADB7", ADB6MUX = "ADB6", ADB5MUX = "ADB5",
      ADB4MUX = "ADB4", ADB3MUX = "ADB3", ADB2MUX = "ADB2", ADB1MUX = "ADB1", ADB0MUX = "ADB0",
    parameter DIB17MUX = "DIB17", DIB16MUX = "DIB16", DIB15MUX = "DIB15", DIB14MUX = "DIB14",
      DIB13MUX = "DIB13", DIB12MUX = "DIB12", DIB11MUX = "DIB11", DIB10MUX = "DIB10",
      DIB9MUX = "DIB9", DIB8MUX = "DIB8", DIB7MUX = "DIB7", DIB6MUX = "DIB6", DIB5MUX = "DIB5",
      DIB4MUX = "DIB4", DIB3MUX = "DIB3", DIB2MUX = "DIB2", DIB1MUX = "DIB1", DIB0MUX = "DIB0",
    parameter [319:0] INITVAL_00 = 320'h0, INITVAL_01 = 320'h0, INITVAL_02 = 320'h0,
      INITVAL_03 = 320'h0, INITVAL_04 = 320'h0, INITVAL_05 = 320'h0, INITVAL_06 = 320'h0,
      INITVAL_07 = 320'h0, INITVAL_08 = 320'h0, INITVAL_09 = 320'h0, INITVAL_0A = 320'h0,
      INITVAL_0B = 320'h0, INITVAL_0C = 320'h0, INITVAL_0D = 320'h0, INITVAL_0E = 320'h0,
      INITVAL_0F = 320'h0, INITVAL_10 = 320'h0, INITVAL_11 = 320'h0, INITVAL_12 = 320'h0,
      INITVAL_13 = 320'h0, INITVAL_14 = 320'h0, INITVAL_15 = 320'h0, INITVAL_16 = 320'h0,
      INITVAL_17 = 320'h0, INITVAL_18 = 320'h0, INITVAL_19 = 320'h0, INITVAL_1A = 320'h0,
      INITVAL_1B = 320'h0, INITVAL_1C = 320'h0, INITVAL_1D = 320'h0, INITVAL_1E = 320'h0,
      INITVAL_1F = 320'h0, INITVAL_20 = 320'h0, INITVAL_21 = 320'h0, INITVAL_22 = 320'h0,
      INITVAL_23 = 320'h0, INITVAL_24 = 320'h0, INITVAL_25 = 320'h0, INITVAL_26 = 320'h0,
      INITVAL_27 = 320'h0, INITVAL_28 = 320'h0, INITVAL_29 = 320'h0, INITVAL_2A = 320'h0,
      INITVAL_2B = 320'h0, INITVAL_2C = 320'h0, INITVAL_2D = 320'h0, INITVAL_2E = 320'h0,
      INITVAL_2F = 320'h0, INITVAL_30 = 320'h0, INITVAL_31 = 320'h0, INITVAL_32 = 320'h0,
      INITVAL_33 = 320'h0, INITVAL_34 = 320'h0, INITVAL_35 = 320'h0, INITVAL_36 = 320'h0,
      INITVAL_37 = 320'h0, INITVAL_38 = 320'h0, INITVAL_39 = 320'h0, INITVAL_3A = 320'h0,
      INITVAL_3B = 320'h0, INITVAL_3C = 320'h0, INITVAL_3D = 320'h0, INITVAL_3E = 320'h0,
      INITVAL_3F = 320'h0
) (
    input  wire CLKA, CEA, OCEA, WEA, RSTA,
    input  wire CSA2, CSA1, CSA0,
    input  wire ADA13, ADA12, ADA11, ADA10, ADA9, ADA8,
      ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1,
      ADA0,
    input  wire DIA17, DIA16, DIA15, DIA14, DIA13,
      DIA12, DIA11, DIA10, DIA9, DIA8, DIA7,
      DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
    input  wire CLKB, CEB, OCEB, WEB, RSTB,
    input  wire CSB2, CSB1, CSB0,
    input  wire ADB13, ADB12, ADB11, ADB10, ADB9, ADB8,
      ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1,
      ADB0,
    input  wire DIB17, DIB16, DIB15, DIB14, DIB13,
      DIB12, DIB11, DIB10, DIB9, DIB8, DIB7,
      DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    output wire DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6,
      DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
    output wire DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6,
      DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  localparam [20479:0] INIT = {INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B,
    INITVAL_3A, INITVAL_39, INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34,
    INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D,
    INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26,
    INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F,
    INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11,
    INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A,
    INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03,
    INITVAL_02, INITVAL_01, INITVAL_00};
  wire [2:0] select_a = {`PIN(CSA2), `PIN(CSA1), `PIN(CSA0)};
  wire [13:0] address_a = {`PIN(ADA13), `PIN(ADA12), `PIN(ADA11), `PIN(ADA10), `PIN(ADA9),
    `PIN(ADA8), `PIN(ADA7), `PIN(ADA6), `PIN(ADA5), `PIN(ADA4), `PIN(ADA3), `PIN(ADA2),
    `PIN(ADA1), `PIN(ADA0)};
  wire [17:0] data_a = {`PIN(DIA17), `PIN(DIA16), `PIN(DIA15), `PIN(DIA14), `PIN(DIA13),
    `PIN(DIA12), `PIN(DIA11), `PIN(DIA10), `PIN(DIA9), `PIN(DIA8), `PIN(DIA7), `PIN(DIA6),
    `PIN(DIA5), `PIN(DIA4), `PIN(DIA3), `PIN(DIA2), `PIN(DIA1), `PIN(DIA0)};
  wire selected_a = select_a == {CSDECODE_A[16], CSDECODE_A[8], CSDECODE_A[0]};
  wire [2:0] select_b = {`PIN(CSB2), `PIN(CSB1), `PIN(CSB0)};
  wire [13:0] address_b = {`PIN(ADB13), `PIN(ADB12), `PIN(ADB11), `PIN(ADB10), `PIN(ADB9),
    `PIN(ADB8), `PIN(ADB7), `PIN(ADB6), `PIN(ADB5), `PIN(ADB4), `PIN(ADB3), `PIN(ADB2),
    `PIN(ADB1), `PIN(ADB0)};
  wire [17:0] data_b = {`PIN(DIB17), `PIN(DIB16), `PIN(DIB15), `PIN(DIB14), `PIN(DIB13),
    `PIN(DIB12), `PIN(DIB11), `PIN(DIB10), `PIN(DIB9), `PIN(DIB8), `PIN(DIB7), `PIN(DIB6),
    `PIN(DIB5), `PIN(DIB4), `PIN(DIB3), `PIN(DIB2), `PIN(DIB1), `PIN(DIB0)};
  wire selected_b = select_b == {CSDECODE_B[16], CSDECODE_B[8], CSDECODE_B[0]};

  residuum_dp16kd #(
      .WIDTH_A(DATA_WIDTH_A), .WIDTH_B(DATA_WIDTH_B),
      .REGMODE_A(REGMODE_A), .REGMODE_B(REGMODE_B), .RESETMODE(RESETMODE),
      .WRITEMODE_A(WRITEMODE_A), .WRITEMODE_B(WRITEMODE_B), .INIT(INIT)
  ) memory(
      .clock_a(`PIN(CLKA)), .enable_a(`PIN(CEA) & selected_a), .output_enable_a(`PIN(OCEA)),
      .write_a(`PIN(WEA)), .reset_a(`PIN(RSTA)), .address_a(address_a), .data_a(data_a),
      .out_a({DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6,
        DOA5, DOA4, DOA3, DOA2, DOA1, DOA0}),
      .clock_b(`PIN(CLKB)), .enable_b(`PIN(CEB) & selected_b), .output_enable_b(`PIN(OCEB)),
      .write_b(`PIN(WEB)), .reset_b(`PIN(RSTB)), .address_b(address_b), .data_b(data_b),
      .out_b({DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6,
        DOB5, DOB4, DOB3, DOB2, DOB1, DOB0}));
endmodule
`undef PIN
