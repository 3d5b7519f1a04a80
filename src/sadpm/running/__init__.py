"""What any long job needs: files, checkpoints, signals, processes, devices, randomness."""
