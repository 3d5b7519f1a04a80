"""What is compared: one kind in each module, each with a function that yields its cases."""
