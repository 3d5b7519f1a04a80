"""How ways of doing the same work are compared: in turn, in one process, beside what the device can do at most."""
