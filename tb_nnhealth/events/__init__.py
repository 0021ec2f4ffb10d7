"""Event files: framing, encoding, reading, following, and finding them in a directory."""
