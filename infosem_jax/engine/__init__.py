"""What trains every system: the loop, its layout over devices, checkpoints, compiled programs."""
