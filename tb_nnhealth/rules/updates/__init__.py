"""Rules on what the optimizer does to the weights."""
