"""Rules on the weights themselves, and what they share."""
