"""Solvers composed of kernels: arrays and operators in, results out."""
