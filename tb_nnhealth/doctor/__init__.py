"""What is wrong with a log itself: its files, records, steps and clocks."""
