"""What training has that nothing else does: its state, and its batches."""
