"""Torch-free types: what may be asked of Spikebit and what comes back."""
