"""A reproduction of "On Inference Stability for Diffusion Models" (SA-DPM, AAAI 2024)."""

__version__ = "0.1.0"
