// Test bench of reader.v: sends all images of images.hex, with pauses, and compares every class,
// margin and logit with expected.hex, which comes from the golden model. Clock it from outside.
module top(input wire clk);
  reg [7:0] pixels [0:`IMAGES*`PIXELS-1];
  // Per image: class, margin, and a logit per class.
  reg [31:0] expected [0:`IMAGES*(`CLASSES+2)-1];
  initial begin
    $readmemh("images.hex", pixels);
    $readmemh("expected.hex", expected);
  end

  reg [3:0] resetting = 15;
  wire rst = resetting != 0;
  reg [15:0] noise = 1;  // an LFSR, for the pauses
  integer cycles = 0, sent = 0, images = 0, logits = 0, mismatches = 0;

  wire pixel_ready, done, error, logit_valid;
  wire [15:0] best_class;
  wire [31:0] margin, logit;
  reg pixel_valid = 0;
  reader reader(
    .clk(clk), .rst(rst),
    .pixel_data(pixels[sent < `IMAGES*`PIXELS ? sent : 0]),
    .pixel_last(sent % `PIXELS == `PIXELS - 1),
    .pixel_valid(pixel_valid), .pixel_ready(pixel_ready),
    .done(done), .error(error), .best_class(best_class), .margin(margin),
    .logit_valid(logit_valid), .logit(logit)
  );

  task check(input [31:0] found, input integer place);
    if (found !== expected[place]) begin
      mismatches = mismatches + 1;
      $display("image %0d, word %0d: %h instead of %h", place / (`CLASSES+2),
        place % (`CLASSES+2), found, expected[place]);
    end
  endtask

  always @(posedge clk) begin
    cycles <= cycles + 1;
    noise <= {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
    if (rst) resetting <= resetting - 1;
    else begin
      // A byte that waits stays; after it, one cycle in four is a pause.
      if (pixel_valid & pixel_ready) sent <= sent + 1;
      if (~pixel_valid | pixel_ready)
        pixel_valid <= (noise[1:0] != 0) &
          (sent + (pixel_valid & pixel_ready ? 1 : 0) < `IMAGES*`PIXELS);
      if (logit_valid) begin
        if (logits < `CLASSES) check(logit, images*(`CLASSES+2) + 2 + logits);
        logits = logits + 1;
      end
      if (done) begin
        check({16'b0, best_class}, images*(`CLASSES+2));
        check(margin, images*(`CLASSES+2) + 1);
        // The first logit of the next image cannot come in the same cycle.
        if (error | logits != `CLASSES) mismatches = mismatches + 1;
        logits = 0;
        images = images + 1;
      end
      if (images == `IMAGES) begin
        $display("%0d images, %0d mismatches, %0d cycles", images, mismatches, cycles);
        $finish;
      end
      if (cycles > `IMAGES*2000000) begin
        $display("only %0d of %0d images were answered", images, `IMAGES);
        $finish;
      end
    end
  end
endmodule
