"""What rules of all groups look at: losses and tags, weights and steps, depth, progress."""
