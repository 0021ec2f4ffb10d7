"""Rules on what layers give out."""
