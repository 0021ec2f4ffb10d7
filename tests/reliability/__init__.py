"""How much goes wrong without harm: each experiment a command that prints its count (``docs/reliability.md``)."""
