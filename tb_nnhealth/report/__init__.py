"""The report: one dict, the JSON of the interface, and its renderings."""
