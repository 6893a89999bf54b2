// An example of a user of the core: keeps the class of the latest image, and by how much its logit
// is larger than the second largest one. The bus is not used; the network is in the core.
module reader(
  input  wire        clk,
  input  wire        rst,
  // Images, as the core takes them.
  input  wire  [7:0] pixel_data,
  input  wire        pixel_last,
  input  wire        pixel_valid,
  output wire        pixel_ready,
  // The latest image.
  output reg         done,       // high for one cycle: there is a new result
  output reg         error,
  output reg  [15:0] best_class,
  output reg  [31:0] margin,
  // Each logit as it comes, for the test bench.
  output wire        logit_valid,
  output wire [31:0] logit
);
  wire [`CLASS_BITS-1:0] result_class;
  wire result_error, result_last, result_valid;
  wire signed [31:0] result_logit;

  residuum_engine engine(
    .clk(clk), .rst(rst),
    .pixel_data(pixel_data), .pixel_last(pixel_last),
    .pixel_valid(pixel_valid), .pixel_ready(pixel_ready),
    .result_logit(result_logit), .result_class(result_class), .result_error(result_error),
    .result_last(result_last), .result_valid(result_valid), .result_ready(1'b1),
    .bus_address(0), .bus_write_data(0), .bus_write(1'b0), .bus_read(1'b0),
    .bus_ready(), .bus_read_data(), .bus_read_valid(), .busy()
  );

  localparam signed [31:0] LEAST = 32'sh80000000;
  reg signed [31:0] first, second;  // the largest logits up to now
  wire signed [31:0] next_first = result_logit > first ? result_logit : first;
  wire signed [31:0] next_second =
    result_logit > first ? first : result_logit > second ? result_logit : second;

  assign logit_valid = result_valid & ~result_error;
  assign logit = result_logit;

  always @(posedge clk) begin
    done <= result_valid & result_last & ~rst;
    if (rst | (result_valid & result_last)) begin
      first <= LEAST;
      second <= LEAST;
    end else if (result_valid) begin
      first <= next_first;
      second <= next_second;
    end
    if (result_valid & result_last) begin
      error <= result_error;
      best_class <= result_class;
      margin <= next_first - next_second;
    end
  end
endmodule
