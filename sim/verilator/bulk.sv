// The bulk mover: one C++ call per clock drives the host port, so that no cycle waits for Python.
// sim/verilator/bulk.py queues the commands, sim/verilator/bulk.cpp executes them.
module residuum_bulk #(
    parameter ADDRESS_WIDTH = 1
) (
    input  logic                     clk,
    input  logic                     rst,
    input  logic                     busy,
    output logic [ADDRESS_WIDTH-1:0] address,
    output logic [31:0]              write_data,
    output logic                     write,
    output logic                     read,
    input  logic [31:0]              read_data,
    input  logic                     read_valid,
    output logic                     idle
);
  import "DPI-C" function void residuum_bulk_attach(input int unsigned address_width);
  import "DPI-C" function void residuum_bulk_tick(
      input bit rst,
      input bit busy,
      input bit read_valid,
      input int unsigned read_data,
      output int unsigned address,
      output int unsigned write_data,
      output int unsigned flags
  );

  int unsigned next_address;
  int unsigned next_data;
  int unsigned flags;

  initial begin
    residuum_bulk_attach(ADDRESS_WIDTH);
    address = 0;
    write_data = 0;
    write = 0;
    read = 0;
    idle = 1;
  end

  always @(posedge clk) begin
    residuum_bulk_tick(rst, busy, read_valid, read_data, next_address, next_data, flags);
    address <= next_address[ADDRESS_WIDTH-1:0];
    write_data <= next_data;
    write <= flags[0];
    read <= flags[1];
    idle <= flags[2];
  end
endmodule
