"""The ways of training, by theme. Each is registered under ``@way`` and checks its own numbers as it goes."""
