"""Coverage-guided fuzzers, each a command; what they found is kept in ``found/`` and tried by the test suite."""
