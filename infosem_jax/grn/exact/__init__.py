"""Networks with exact posteriors: linear-Gaussian regressions in closed form."""

from infosem_jax.grn.exact.config import Config
from infosem_jax.grn.exact.decomposition import Spectrum, spectrum
from infosem_jax.grn.exact.fitting import Fit, chosen_rows, decomposed, fit, network
from infosem_jax.grn.exact.hyper import collapsed
from infosem_jax.grn.exact.statistics import Moments, add, moments

__all__ = [
    "Config",
    "Fit",
    "Moments",
    "Spectrum",
    "add",
    "chosen_rows",
    "collapsed",
    "decomposed",
    "fit",
    "moments",
    "network",
    "spectrum",
]
