"""The engine under Verilator and cocotb."""
