"""Metrics of given features and logits, whatever network they come from."""
