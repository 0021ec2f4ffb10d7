"""Rules on number formats and what they cannot hold."""
