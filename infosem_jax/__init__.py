"""Gene regulatory networks with informative priors, as explicit NumPyro models compiled by JAX."""

__version__ = "0.1.0"
