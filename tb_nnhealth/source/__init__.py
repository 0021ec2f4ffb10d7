"""Runs from event files or from TensorBoard's DataProvider, behind one small protocol."""
