"""The engine as a Verilog core, and an example that uses it."""
