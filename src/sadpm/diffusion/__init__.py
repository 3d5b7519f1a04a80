"""The mathematics: pure functions on tensors. Noise is passed in; no files, no arguments of programs, no globals.

One convention everywhere: the noise level n counts from 1 to N, and n = 0 is clean data (the papers' convention).
"""
