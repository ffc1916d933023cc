"""Whether stated uncertainty can be trusted: calibration on simulations, and checks on data."""
