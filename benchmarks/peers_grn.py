"""How well InfoSEM ranks edges beside RegDiffusion, on every BEELINE set at hand.

Each method sees expression only and gives every pair of genes a score; regulators are those of the
reference network. Figures are AUPRC over the base rate, pooled and per regulator, averaged over the
sets, against STRING and against cell-type-specific ChIP-seq. Settings are the same for all sets.

    INFOSEM_DATA=DATA python benchmarks/peers_grn.py [--sets mDC/TFs+500,...] [--seeds 3]
"""

# pyright: reportMissingImports=false

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from _record import Figure, parser, print_table, report
from speed_grn import regdiffusion_edges

from infosem_jax import Config, edges, fit, network, priors
from infosem_jax.data import read_expression, read_network
from infosem_jax.data.dataset import Dataset
from infosem_jax.grn import evaluate

NETWORKS = ("string", "specific")
METRICS = ("auprc_ratio", "auprc_ratio_per_regulator")
RANGE = Config(normalisation="cell_range_zscore")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sets", help="folders below beeline, split by commas; all if not given")
    options.add_argument("--seeds", type=int, default=3, help="of ours; RegDiffusion gets one")
    options.add_argument("--methods", default=",".join(METHODS), help="split by commas")
    arguments = options.parse_args()
    beeline = Path(os.environ.get("INFOSEM_DATA", "")) / "beeline"
    found = sorted(f"{p.parent.parent.name}/{p.parent.name}" for p in beeline.glob("*/*/*.npz"))
    sets = arguments.sets.split(",") if arguments.sets else found
    if arguments.quick:
        sets = [name for name in sets if name.endswith("TFs_only")]
    if not sets:
        sys.exit("Set INFOSEM_DATA to a folder that holds beeline/mDC/TFs+500/expression.npz.")
    methods = arguments.methods.split(",")
    rows = [row for name in sets for row in measure(beeline / name, name, methods, arguments.seeds)]
    table = pd.DataFrame(rows)
    keys = [f"{n} {m}" for n in NETWORKS for m in METRICS]
    print_table(
        ("set", "method", "seconds", *keys),
        [
            (row["set"], row["method"], f"{row['seconds']:.0f}", *(f"{row[k]:.3f}" for k in keys))
            for row in rows
        ],
    )
    mean = table.groupby("method")[keys].mean()
    peer = mean.loc["regdiffusion"] if "regdiffusion" in mean.index else None
    figures = [
        Figure(
            f"peers_grn: {method}, {key}, mean over {len(sets)} sets",
            float(mean.loc[method, key]),
            "ratio",
            "higher",
            None if peer is None or method == "regdiffusion" else float(peer[key]),
        )
        for method in methods
        for key in keys
    ]
    report(figures, arguments)


def measure(folder: Path, name: str, methods: list[str], seeds: int) -> list[dict]:
    """Score every method on one set."""
    data = read_expression(folder, name=name)
    rows = []
    for method in methods:
        began = time.perf_counter()
        table = METHODS[method](data, seeds)
        row = {"set": name, "method": method, "seconds": time.perf_counter() - began}
        for known in NETWORKS:
            scores = evaluate(table, read_network(folder / f"network_{known}.csv.gz"))
            row |= {f"{known} {metric}": scores[metric] for metric in METRICS}
        print(row, file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def ours(config: Config, prior=None) -> Callable[[Dataset, int], pd.DataFrame]:
    return lambda data, seeds: edges(network(fit(data, prior, config=config, seeds=seeds)))


def regdiffusion(data: Dataset, seeds: int) -> pd.DataFrame:
    """Return RegDiffusion's scores at its defaults."""
    return regdiffusion_edges(data)


METHODS = {
    "regdiffusion": regdiffusion,
    "default": ours(Config()),
    "cell range": ours(RANGE),
    "cell range, normal prior": ours(RANGE, priors.Normal(0.05)),
}


if __name__ == "__main__":
    main()
