"""Lab hosts whose name ends in `phase1`."""

phase = 1
