"""Trains the specimens in parallel, judges their logs, and scores what was found."""
