"""QCFS modules, recipes and training."""
