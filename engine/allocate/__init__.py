"""Bits per layer: an exact integer program over predicted losses, its Pareto front, and checks of a user's plan."""
