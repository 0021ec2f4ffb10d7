"""Rules on inputs and labels, and what they share."""
