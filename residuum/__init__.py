"""Residuum: trained networks as bit-exact spiking networks on ECP5."""
