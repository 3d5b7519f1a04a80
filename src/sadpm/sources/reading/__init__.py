"""How images are read, one at a time: what the kinds of sources have in common, and what takes long to import."""
