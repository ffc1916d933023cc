"""Networks with exact posteriors: linear-Gaussian regressions in closed form."""

from infosem_jax.grn.exact.config import Config as Config
from infosem_jax.grn.exact.fitting import Fit as Fit
from infosem_jax.grn.exact.fitting import chosen_rows as chosen_rows
from infosem_jax.grn.exact.fitting import decomposed as decomposed
from infosem_jax.grn.exact.fitting import fit as fit
from infosem_jax.grn.exact.fitting import network as network
from infosem_jax.grn.exact.hyper import collapsed as collapsed
from infosem_jax.grn.exact.posterior import Spectrum as Spectrum
from infosem_jax.grn.exact.posterior import spectrum as spectrum
from infosem_jax.grn.exact.statistics import Moments as Moments
from infosem_jax.grn.exact.statistics import add as add
from infosem_jax.grn.exact.statistics import moments as moments
