"""An SDR SDRAM chip for simulation, which checks what it is told."""
