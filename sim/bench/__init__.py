"""What is measured with the simulations."""
