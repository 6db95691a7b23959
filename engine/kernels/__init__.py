"""Kernels shared by training, curvature and program; one per file."""
