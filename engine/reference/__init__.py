"""Slow, obvious oracles that tests compare with."""
