// The words of an SDRAM chip: one write and one read in each cycle, the word a cycle after its
// address. `+sdram=FILE` fills it at the start from a file of hexadecimal words ($readmemh).
module sdram_storage #(
    parameter ADDRESS_BITS = 24
) (
    input wire clk,
    input wire write,
    input wire [ADDRESS_BITS-1:0] write_address,
    input wire [15:0] write_data,
    input wire [ADDRESS_BITS-1:0] read_address,
    output reg [15:0] read_data
);
  reg [15:0] words[0:(1<<ADDRESS_BITS)-1]  /* verilator public_flat_rw */;
  string file;

  initial if ($value$plusargs("sdram=%s", file)) $readmemh(file, words);

  always @(posedge clk) begin
    read_data <= words[read_address];
    if (write) words[write_address] <= write_data;
  end
endmodule
