"""Leaderboards of the four systems: methods and controls on the same splits and seeds."""
