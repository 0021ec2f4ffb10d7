"""Rules on how model, criterion and modes are put together."""
