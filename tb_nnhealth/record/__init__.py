"""Capture: the SummaryWriter, the Recorder and the watch. The only room that imports torch."""
