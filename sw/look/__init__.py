"""What there is to see of a network and its run: pictures, explanations, pages."""
