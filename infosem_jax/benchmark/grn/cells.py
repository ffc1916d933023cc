"""How the benchmark of networks keeps its cells, see `infosem_jax.grn.accuracy`."""

from infosem_jax.benchmark.store import Store
from infosem_jax.grn.accuracy import At, Cell

STORE = Store("grn", At, Cell, ("dataset", "genes", "network", "split", "method"))
