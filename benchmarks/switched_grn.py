"""Do the regulators that differ between groups of cells lead by their activity?

    [INFOSEM_DATA=DATA] python benchmarks/switched_grn.py [--quick] [--json FILE]

Simulated cells of two groups; in the second one, the activities of some regulators are shifted up
or down, and with them the expression of half of these regulators. A twentieth of the other genes
shift by themselves. All is read out as log expression without or with dropout, as counts, and as
counts of rare genes; cells are of one type, or of three that shift two genes of five; and with many
regulators. Where INFOSEM_DATA is set, the network of SERGIO's DS1 too, in which two regulators of
ten are shifted, and their expression with them. In the last two cases, cells are of eight types,
which differ in the activities of some regulators; types have as many cells, or from 300 to 5.
Regulators are ranked as `grn.compare_activity` does it, by the share of the variance of their
activity that is between groups (*between*); by the range of the groups' mean activities; and by the
share of the variance of their own expression. Scores are average precisions of the regulators that
differ, means over seeds with their intervals of 95 %. The first ranking was chosen on smaller
numbers of these data.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from _record import Figure, parser, report
from knockout_grn import sergio, settle

from infosem_jax import grn
from infosem_jax.data import Dataset
from infosem_jax.data.dataset import dataset
from infosem_jax.grn import exact
from infosem_jax.grn.activities import centred_cells
from infosem_jax.scores import mean_interval

SETTINGS = exact.Config(rows="regulators")
SEEDS, DETECTED = 10, 5
# Mean log counts of genes.
LEVEL = {"counts": 1.0, "rare genes": -1.0}

SIZES = {"alike": (100,) * 8, "of uneven size": (300, 200, 150, 80, 40, 15, 8, 5)}

# Data, the group of each cell, and the regulators that differ.
Case = tuple[Dataset, np.ndarray, set[str]]


def main() -> None:
    options = parser(__doc__).parse_args()
    cases: dict[str, Callable[[int], Case]] = {
        "log": partial(switched, how="log"),
        "dropout": partial(switched, how="dropout"),
        "counts": partial(switched, how="counts"),
        "rare genes": partial(switched, how="rare genes"),
        "counts, three types": partial(switched, how="counts", types=3, cells=1200),
        "rare genes, three types": partial(switched, how="rare genes", types=3, cells=1200),
        "rare genes, three types, many regulators": partial(
            switched, how="rare genes", types=3, cells=1200, regulators=250, targets=800
        ),
    }
    for what, sizes in SIZES.items():
        cases[f"eight types, {what}"] = partial(types, sizes=sizes)
    if options.quick:
        cases = {name: cases[name] for name in ("log", "counts")}
    elif "INFOSEM_DATA" in os.environ:
        cases["SERGIO DS1"] = partial(switched_sergio, Path(os.environ["INFOSEM_DATA"]))
    figures = []
    for name, case in cases.items():
        found: dict[str, list[float]] = {}
        for seed in range(2 if options.quick else SEEDS):
            for by, score in scores(*case(seed)).items():
                found.setdefault(by, []).append(score)
        for by, values in found.items():
            own = mean_interval(values)
            title = f"switched: {name}, {by}"
            figures.append(Figure(title, own.mean, "precision", "higher", None, own.low, own.high))
    report(figures, options)


def scores(data: Dataset, groups: np.ndarray, truth: set[str]) -> dict[str, float]:
    """Return the average precision of the regulators that differ by each ranking."""
    fitted = grn.fit(data, config=SETTINGS)
    activity = grn.activity(fitted, data)
    table = grn.compare_activity(activity, groups).set_index("regulator")
    x = centred_cells(fitted, data)
    own = activity._replace(mean=x[:, [fitted.genes.index(name) for name in activity.regulators]])
    expressed = grn.compare_activity(own, groups).set_index("regulator")["between"]
    table["own expression"] = expressed[table.index]
    differs = table.index.isin(truth)
    found = {}
    for by in ("between", "range", "own expression"):
        ranked = differs[np.argsort(-table[by].to_numpy(), kind="stable")]
        precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
        found[by] = float(precision[ranked].mean())
    return found


def switched(
    seed: int,
    *,
    how: str,
    types: int = 1,
    cells: int = 800,
    regulators: int = 80,
    targets: int = 500,
    number: int = 4,
) -> Case:
    """Simulate two groups of cells between which some regulators are switched."""
    rng = np.random.default_rng(seed)
    shape = (regulators, targets)
    W = np.where(rng.random(shape) < 3 / regulators, rng.normal(0, 0.6, shape), 0.0)
    loading = rng.normal(size=(3, regulators)) / np.sqrt(3)
    a = 0.8 * rng.normal(size=(cells, regulators)) + 0.5 * rng.normal(size=(cells, 3)) @ loading
    other = rng.normal(size=(cells, targets))
    if types > 1:
        kind = rng.integers(types, size=cells)
        a += (rng.normal(0, 1.2, (types, regulators)) * (rng.random(regulators) < 0.4))[kind]
        other += (rng.normal(0, 1.2, (types, targets)) * (rng.random(targets) < 0.4))[kind]
    second = rng.random(cells) < 0.5
    chosen = rng.choice(regulators, number, replace=False)
    size = rng.choice([-1, 1], number) * rng.uniform(0.6, 1.5, number)
    expressed = a + rng.normal(size=a.shape)
    expressed[np.ix_(second, chosen[::2])] += size[::2]
    a[np.ix_(second, chosen)] += size
    other[second] += rng.normal(0, 0.5, targets) * (rng.random(targets) < 0.05)
    x = read_out(np.hstack([expressed, a @ W + other]), rng, how)
    return measured(x, regulators, second, chosen)


def types(seed: int, *, sizes: tuple[int, ...]) -> Case:
    """Simulate counts of rare genes in types of cells between which some regulators differ."""
    rng = np.random.default_rng(seed)
    regulators, targets, number = 80, 500, len(sizes)
    kind = np.repeat(np.arange(number), sizes)
    cells, shape = len(kind), (regulators, targets)
    W = np.where(rng.random(shape) < 3 / regulators, rng.normal(0, 0.6, shape), 0.0)
    loading = rng.normal(size=(3, regulators)) / np.sqrt(3)
    a = 0.8 * rng.normal(size=(cells, regulators)) + 0.5 * rng.normal(size=(cells, 3)) @ loading
    some = rng.random((number, regulators)) < 0.4 * (rng.random(regulators) < 0.2)
    a += (rng.normal(0, 1.2, some.shape) * some)[kind]
    other = rng.normal(size=(cells, targets))
    other += (rng.normal(0, 1.2, (number, targets)) * (rng.random(targets) < 0.2))[kind]
    x = read_out(np.hstack([a + rng.normal(size=a.shape), a @ W + other]), rng, "rare genes")
    return measured(x, regulators, kind, np.flatnonzero(some.any(0)))


def measured(x: np.ndarray, regulators: int, groups: np.ndarray, chosen: np.ndarray) -> Case:
    """Name genes, regulators first, and leave out those that few cells show."""
    names = np.array([f"{'R' if i < regulators else 'G'}{i:03d}" for i in range(x.shape[1])])
    seen = (x > 0).sum(0) >= DETECTED
    known = names[:regulators][seen[:regulators]].tolist()
    truth = {*names[chosen].tolist()} & {*known}
    return dataset(x[:, seen], names[seen].tolist(), known), groups, truth


def switched_sergio(folder: Path, seed: int) -> Case:
    """Simulate two groups of cells of SERGIO's network."""
    rng = np.random.default_rng(seed)
    effect, cells = sergio(folder, seed), 600
    acting = np.flatnonzero(effect.any(1))
    hidden = rng.normal(size=(cells, 3)) @ rng.normal(size=(3, 100)) / np.sqrt(3)
    z = 0.4 * rng.normal(size=(cells, 100)) + 0.3 * hidden
    second = np.arange(cells) >= cells // 2
    chosen = rng.choice(acting, 2, replace=False)
    z[np.ix_(second, chosen)] += rng.choice([-1, 1], 2) * rng.uniform(0.3, 0.8, 2)
    x = read_out(settle(effect, z), rng, "counts")
    names = [f"R{i:02d}" if i in set(acting) else f"G{i:02d}" for i in range(100)]
    return dataset(x, names, [names[i] for i in acting]), second, {names[i] for i in chosen}


def read_out(u: np.ndarray, rng: np.random.Generator, how: str) -> np.ndarray:
    """Measure activities as log expression with or without dropout, or as counts."""
    spread = rng.uniform(0.5, 1.5, u.shape[1])
    level = rng.normal(LEVEL.get(how, 1.5), 1, u.shape[1]) + spread * (u - u.mean(0)) / u.std(0)
    if how in LEVEL:
        depth = rng.normal(0, 0.3, (len(u), 1))
        return rng.poisson(np.exp(np.minimum(level + depth, 8))).astype(float)
    if how == "log":
        return np.logaddexp(0, level)
    seen = level + rng.logistic(size=level.shape)
    return np.where(seen < np.quantile(seen, 0.3), 0.0, np.logaddexp(0, level))


if __name__ == "__main__":
    main()
