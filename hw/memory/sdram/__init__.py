"""SDR SDRAM: data of the parts, the controller with its pins, and the memory tester."""
