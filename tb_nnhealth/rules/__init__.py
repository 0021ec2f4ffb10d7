"""Judgement: pure rules over a run's history. No I/O, no torch, no rendering."""
