"""Arithmetic made fast: large depthwise kernels, folding, devices."""
