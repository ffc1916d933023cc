"""Networks with exact posteriors: linear-Gaussian regressions in closed form."""
