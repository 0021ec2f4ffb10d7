"""Rules on jobs of several processes."""
