"""What software and gateware share: plain Python that imports no hardware."""
