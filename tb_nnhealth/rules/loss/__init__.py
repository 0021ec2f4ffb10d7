"""Rules on the curve of the loss, and what they share."""
