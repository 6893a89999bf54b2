"""What the residual potential does: measurements on the trained networks, plots and a page."""
