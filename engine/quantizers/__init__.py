"""Quantizers: from real weights to signed integers on a scale, one file each, looked up in the registry."""
