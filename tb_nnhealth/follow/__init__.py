"""Runs watched while they train: what appears and clears, told to people, commands, webhooks and Prometheus."""
