"""Activities, differences and knock-outs from exact posteriors, where the truth is simulated.

    INFOSEM_DATA=DATA python benchmarks/biology_grn.py [--quick] [--part PART] [--json FILE]

Activities: regulators have an activity in each cell, which their expression shows with noise and
their targets follow; all is read out as log expression with dropout. Activities are correlated with
the truth within each regulator, beside decoupler's ulm (the same formula, without the package) on
the 20 strongest targets of each regulator and the regulator's own expression; coverage is the share
of activities within 1.96 standard deviations, on the scale that fits them best.

Differences: two groups of cells in which some effects differ, as log expression with and without
dropout, or counts; the mean activity of regulators differs as well. Of the differences with a local
false sign rate of at most 5 %, the share of wrong ones (no difference, or of the other sign) is
counted over all seeds, with its 95 % interval (Clopper and Pearson), and so is what is found where
nothing differs, where labels are shuffled, and where donors differ but groups do not.

Knock-outs: networks of the exact engine. Shifts over all paths and orders of the regulators, by
direct effects (the weights), and by the marginal regression on the gene, against the true shifts:
correlation over pairs and within regulators, and the share of true shifts within 1.96 standard
deviations. Expression is linear with regulators that act on each other in an order, on which other
genes follow (cascade), the same with hidden states that act on all genes, the same with effects in
both directions among the regulators (feed-back), the networks 1 to 3 of DREAM4, which hold loops,
with effects of random size; and as in ``benchmarks/knockout_grn.py``, which is neither linear nor
free of dropout and of noise that genes share.

Measured, where INFOSEM_DATA is set: 9 genes knocked out by CRISPR in THP-1 cells that the panel of
299 genes holds (Papalexi 2021), from a network of its 2,386 control cells; the change of each
other gene's mean against the predicted shift, within regulators, and against |weight| for its size.
And mESC TFs+500: genes that responded to loss or gain of 34 regulators (lofgof), by the size of
predicted shifts. What the data hold of CRISPRi in K562 has no cells without a guide to learn from,
and of DREAM4 no knock-outs, so that neither is measured.

Each figure is a mean over seeds (or genes) with its interval of 95 %.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _record import Figure, data_folder, parser, report
from knockout_grn import SIMULATION, Experiment, experiment, responders, sergio
from scipy import stats

from infosem_jax import grn
from infosem_jax.data import Dataset, normalise, read_network
from infosem_jax.data.dataset import dataset
from infosem_jax.data.simulate import simulate
from infosem_jax.grn import exact
from infosem_jax.grn.differences import SURE
from infosem_jax.grn.metrics import score_matrix
from infosem_jax.scores import mean_interval

SETTINGS = exact.Config(rows="regulators", normalisation="auto")
CELLS, REGULATORS, TARGETS = 400, 20, 150
MEASUREMENT = {"mRNA noise 1": 1.0, "mRNA noise 0.3": 0.3}
READ_OUTS = {"log": {}, "dropout 0.3": {"dropout": 0.3}, "counts": {"counts": True}}


def main() -> None:
    parts = {"activities": on_activities, "differences": on_differences, "knockouts": on_knockouts}
    arguments = parser(__doc__)
    arguments.add_argument("--part", choices=parts, action="append", help="default: all")
    options = arguments.parse_args()
    seeds = range(3 if options.quick else 10)
    chosen = options.part or list(parts)
    figures = [figure for part in chosen for figure in parts[part](seeds)]
    if "knockouts" in chosen and not options.quick and "INFOSEM_DATA" in os.environ:
        figures += on_thp1(data_folder("perturb", "the perturbation data") / "sc")
        figures += on_lofgof(data_folder("beeline", "BEELINE") / "mESC" / "TFs+500")
    report(figures, options)


def summary(name: str, values: list[float], unit: str, target: float | None = None) -> list[Figure]:
    """Return the mean with its interval of 95 %, by Student's t."""
    own = mean_interval(values)
    return [Figure(name, own.mean, unit, "higher", target, own.low, own.high)]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation, zero where one does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def on_activities(seeds: range) -> list[Figure]:
    """Recover simulated activities."""
    figures = []
    for what, noise in MEASUREMENT.items():
        found: dict[str, list[float]] = {}
        for seed in seeds:
            data, activity = activities(seed, noise)
            fitted = grn.fit(data, config=SETTINGS)
            mine = grn.activity(fitted, data)
            x = normalise(data, "zscore").x
            size = np.abs(fitted.weight)
            strong = np.where(size >= np.sort(size, 1)[:, -20:-19], fitted.weight, 0)
            scores = {
                "posterior": mine.mean,
                "ulm": ulm(x, strong),
                "own expression": x[:, :REGULATORS],
            }
            for score, values in scores.items():
                each = map(correlation, values.T, activity.T)
                found.setdefault(f"correlation, {score}", []).append(float(np.mean(list(each))))
            slope = (mine.mean * activity).sum(0) / (mine.mean**2).sum(0)
            inside = np.abs(activity - slope * mine.mean) <= 1.96 * np.abs(slope) * mine.sd
            found.setdefault("coverage of 95 %", []).append(float(inside.mean()))
        for score, values in found.items():
            target = 0.95 if "coverage" in score else None
            figures += summary(f"activity: {what}, {score}", values, "", target)
    return figures


def activities(seed: int, noise: float) -> tuple[Dataset, np.ndarray]:
    """Measure cells whose regulators have known activities, [cells, regulators]."""
    rng = np.random.default_rng(seed)
    shape = (REGULATORS, TARGETS)
    W = np.where(rng.random(shape) < 3 / REGULATORS, rng.normal(0, 0.6, shape), 0.0)
    loading = rng.normal(size=(3, REGULATORS)) / np.sqrt(3)
    a = rng.normal(size=(CELLS, REGULATORS)) + 0.5 * rng.normal(size=(CELLS, 3)) @ loading
    expressed = a + noise * rng.normal(size=a.shape)
    targets = a @ W + rng.normal(size=(CELLS, TARGETS))
    return measured(np.hstack([expressed, targets]), rng, dropout=0.3), (a - a.mean(0)) / a.std(0)


def measured(
    u: np.ndarray, rng: np.random.Generator, *, dropout: float = 0.0, counts: bool = False
) -> Dataset:
    """Read activities out as log expression with dropout, or as counts."""
    z = (u - u.mean(0)) / u.std(0)
    level = rng.normal(1.5, 1, z.shape[1]) + rng.uniform(0.5, 1.5, z.shape[1]) * z
    if counts:
        depth = rng.normal(0, 0.3, (len(z), 1))
        x = rng.poisson(np.exp(np.minimum(level + depth, 8))).astype(float)
    else:
        x = np.logaddexp(0, level)
        seen = level + rng.logistic(size=x.shape)
        x = np.where(seen < np.quantile(seen, dropout), 0.0, x) if dropout else x
    names = [f"R{i:02d}" for i in range(REGULATORS)]
    names += [f"G{i:03d}" for i in range(z.shape[1] - REGULATORS)]
    return dataset(x, names, names[:REGULATORS])


def ulm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the t value of each cell's linear model of expression on a regulon, as decoupler."""
    x, w = x - x.mean(1, keepdims=True), weight - weight.mean(1, keepdims=True)
    r = (x @ w.T) / np.sqrt((x**2).sum(1)[:, None] * (w**2).sum(1))
    return r * np.sqrt((x.shape[1] - 2) / (1 - r**2))


def on_differences(seeds: range) -> list[Figure]:
    """Count the differences that are found, and the wrong ones among them."""
    figures = []
    for what, read_out in READ_OUTS.items():
        sure, wrong, power, shuffled, null = 0, 0, [], 0, 0
        for seed in seeds:
            data, groups, _, change = two_groups(seed, **read_out)
            found = grn.contrast(data, groups, key=seed)
            hit, bad = sure_and_wrong(found, change)
            sure, wrong = sure + hit, wrong + bad
            power.append((hit - bad) / (change != 0).sum())
            shuffled += int(found.learned["shuffled"].sum())
            data, groups, _, change = two_groups(seed, changed=0.0, **read_out)
            null += sure_and_wrong(grn.contrast(data, groups, shuffles=1, key=seed), change)[0]
        figures += shares(f"contrast: {what}", sure, wrong)
        figures += summary(f"contrast: {what}, share of changed effects found", power, "")
        figures += [
            Figure(
                f"contrast: {what}, found after shuffling labels", shuffled, "edges", "lower", 0
            ),
            Figure(f"contrast: {what}, found where nothing differs", null, "edges", "lower", 0),
        ]
    for what, replicates in (("cells", False), ("donors", True)):
        sure = wrong = null = 0
        for seed in seeds:
            data, groups, donors, change = two_groups(seed, cells=800, donors=4)
            labels = donors if replicates else None
            hit, bad = sure_and_wrong(grn.contrast(data, groups, replicates=labels), change)
            sure, wrong = sure + hit, wrong + bad
            data, groups, donors, change = two_groups(seed, cells=800, donors=4, changed=0.0)
            labels = donors if replicates else None
            null += sure_and_wrong(grn.contrast(data, groups, replicates=labels), change)[0]
        figures += shares(f"contrast: donors differ, {what} as replicates", sure, wrong)
        title = f"contrast: donors differ, {what} as replicates, found where groups do not"
        figures.append(Figure(title, null, "edges", "lower", 0))
    return figures


def shares(name: str, sure: int, wrong: int) -> list[Figure]:
    """Return the number of sure differences, the share of wrong ones, and its interval."""
    low = stats.beta.ppf(0.025, wrong, sure - wrong + 1) if wrong else 0.0
    high = stats.beta.ppf(0.975, wrong + 1, sure - wrong) if wrong < sure else 1.0
    return [
        Figure(f"{name}, found at lfsr 5 %", sure, "edges", "higher"),
        Figure(
            f"{name}, wrong of these",
            *(wrong / max(sure, 1), "share", "lower", SURE, float(low), float(high)),
        ),
    ]


def sure_and_wrong(found: grn.Contrast, change: np.ndarray) -> tuple[int, int]:
    """Count the sure differences on targets, and the wrong ones among them."""
    difference, lfsr = found.difference[:, REGULATORS:], found.lfsr[:, REGULATORS:]
    sure = lfsr <= SURE
    return int(sure.sum()), int((sure & (np.sign(difference) != np.sign(change))).sum())


def two_groups(
    seed: int, *, changed: float = 0.05, cells: int = CELLS, donors: int = 1, **read_out
) -> tuple[Dataset, list[str], list[str], np.ndarray]:
    """Measure two groups of cells between which effects change, [regulators, targets]."""
    rng = np.random.default_rng(seed)
    shape = (REGULATORS, TARGETS)
    W = np.where(rng.random(shape) < 3 / REGULATORS, rng.normal(0, 0.5, shape), 0.0)
    size = rng.choice([-1, 1], shape) * rng.lognormal(-0.7, 0.5, shape)
    change = np.where(rng.random(shape) < changed, size, 0.0)
    loading, moved = rng.normal(size=(3, REGULATORS)) / np.sqrt(3), rng.normal(0, 0.3, REGULATORS)
    parts, groups, names = [], [], []
    for group in (0, 1):
        for donor in range(donors):
            n = cells // donors
            own = rng.normal(0, 0.2 if donors > 1 else 0.0, shape) * ((W != 0) | (change != 0))
            a = 0.8 * rng.normal(size=(n, REGULATORS)) + 0.5 * rng.normal(size=(n, 3)) @ loading
            a += group * moved
            t = a @ (W + group * change + own) + rng.normal(size=(n, TARGETS))
            parts.append(np.hstack([a, t]))
            groups += ["ab"[group]] * n
            names += [f"donor {donor}"] * n
    return measured(np.concatenate(parts), rng, **read_out), groups, names, change


def on_knockouts(seeds: range) -> list[Figure]:
    """Predict the shifts that silencing each regulator brings in a simulator."""
    networks: dict[str, Callable[[int], Experiment]] = {
        "linear cascade": lambda seed: linear(cascade(seed), seed),
        "linear cascade, hidden states": lambda seed: linear(cascade(seed), seed, hidden=0.5),
        "linear feed-back": lambda seed: linear(cascade(seed, both=True), seed),
        "dropout": lambda seed: experiment(simulate(SIMULATION, seed).effect, CELLS, seed),
    }
    folder = Path(os.environ.get("INFOSEM_DATA", ""))
    if (folder / "dream4").is_dir():
        networks["linear DREAM4"] = lambda seed: linear(dream4(folder, seed), seed)
    if (folder / "sergio").is_dir():
        networks["dropout SERGIO DS1"] = lambda seed: experiment(sergio(folder, seed), CELLS, seed)
    figures = []
    for network, measure in networks.items():
        found: dict[str, list[float]] = {}
        for seed in seeds:
            truth = measure(seed)
            data, regulators = truth.data, truth.data.regulators
            fitted = grn.fit(data, config=SETTINGS)
            silenced = grn.knockouts(fitted, regulators, data, key=seed)
            others = np.asarray(regulators)[:, None] != np.asarray(data.genes)
            for score, values in shifts(fitted, silenced, data, regulators).items():
                within = [
                    correlation(v[o], t[o])
                    for v, t, o in zip(values, truth.shift, others, strict=True)
                ]
                pooled = correlation(values[others], truth.shift[others])
                found.setdefault(f"{score}, pooled", []).append(pooled)
                found.setdefault(f"{score}, within", []).append(float(np.mean(within)))
            inside = np.abs(silenced.shift - truth.shift) <= 1.96 * silenced.sd
            found.setdefault("coverage of 95 %", []).append(float(inside[others].mean()))
        for score, values in found.items():
            target = 0.95 if "coverage" in score else None
            figures += summary(f"knockout: {network}, {score}", values, "", target)
    return figures


def cascade(seed: int, *, both: bool = False) -> np.ndarray:
    """Draw effects of regulators on each other, in an order or in both directions, and on others.

    Returns
    -------
    Effects, [genes, genes].
    """
    rng = np.random.default_rng(seed)
    genes = REGULATORS + TARGETS
    W = np.zeros((genes, genes))
    W[:REGULATORS] = np.where(
        rng.random((REGULATORS, genes)) < 3 / REGULATORS,
        rng.normal(0, 0.5, (REGULATORS, genes)),
        0.0,
    )
    np.fill_diagonal(W, 0)
    if not both:
        W[:REGULATORS, :REGULATORS] = np.triu(W[:REGULATORS, :REGULATORS])
        order = np.append(rng.permutation(REGULATORS), np.arange(REGULATORS, genes))
        W = W[np.ix_(order, order)]
    return stable(W)


def dream4(folder: Path, seed: int) -> np.ndarray:
    """Give the edges of a network of DREAM4, 1 to 3, effects of random size and sign."""
    file = f"insilico_size100_multifactorial_{seed % 3 + 1}_goldstandard.csv.gz"
    table = read_network(folder / "dream4" / file)
    names = [f"G{i}" for i in range(1, 101)]
    at = {name: i for i, name in enumerate(names)}
    rng = np.random.default_rng(seed)
    W = np.zeros((100, 100))
    for source, target in zip(table["source"], table["target"], strict=True):
        W[at[source], at[target]] = rng.choice([-1, 1]) * rng.lognormal(-0.7, 0.5)
    return stable(W)


def stable(W: np.ndarray) -> np.ndarray:
    """Make effects so much smaller that loops die out."""
    return W * min(1.0, 0.8 / max(np.abs(np.linalg.eigvals(W)).max(), 1e-12))


def linear(effect: np.ndarray, seed: int, *, hidden: float = 0.0) -> Experiment:
    """Measure cells of ``x = x W + z`` as they are, and what silencing each regulator does."""
    rng = np.random.default_rng([seed, 1])
    genes = len(effect)
    z = rng.normal(size=(CELLS, genes))
    z += hidden * rng.normal(size=(CELLS, 3)) @ rng.normal(size=(3, genes))
    T = np.linalg.inv(np.eye(genes) - effect)
    x = z @ T
    x = (x - x.mean(0)) / (scale := x.std(0))
    regulators = np.flatnonzero(effect.any(1))
    total = T[regulators] / T[regulators, regulators][:, None]
    shift = x.min(0)[regulators, None] * total * scale[regulators, None] / scale
    names = [f"R{i:03d}" if i in set(regulators) else f"G{i:03d}" for i in range(genes)]
    data = dataset(x - x.min(), names, [names[i] for i in regulators])
    return Experiment(data, shift)


def shifts(
    fitted: exact.Fit, silenced: grn.Knockouts, data: Dataset, genes: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Return shifts through all paths, and those of simpler rules, [genes held, genes]."""
    x = normalise(data, fitted.config.normalisation).x
    at = [data.genes.index(gene) for gene in genes]
    step = (silenced.level - x[:, at].mean(0))[:, None]
    weight = fitted.weight[[fitted.regulators.index(gene) for gene in genes]]
    slope = np.cov(x, rowvar=False)[at] / x[:, at].var(0, ddof=1)[:, None]
    return {
        "all paths": silenced.shift,
        "direct effects": step * weight,
        "marginal regression": step * slope,
    }


def on_thp1(folder: Path) -> list[Figure]:
    """Predict the mean changes that knock-outs bring in THP-1 cells."""
    import anndata

    cells: Any = anndata.read_h5ad(folder / "papalexi2021_thp1_panel.h5ad")
    good = (cells.obs["guide_frac"].astype(float) >= 0.5) & (cells.obs["n_umi_panel"] >= 30)
    cells = cells[good.to_numpy()]
    target = cells.obs["target"].astype(str).to_numpy()
    x, names = cells.X.toarray(), list(cells.var_names)
    control = target == "non-targeting"
    data = dataset(x[control], names, name="THP-1 controls")
    log = np.log1p(x / x.sum(1, keepdims=True) * 1e4)[:, [names.index(g) for g in data.genes]]
    scale = log[control].std(0)
    tested = [gene for gene in sorted(set(target)) if gene in data.genes]
    truth = np.stack([(log[target == g].mean(0) - log[control].mean(0)) / scale for g in tested])
    others = np.asarray(tested)[:, None] != np.asarray(data.genes)
    fitted = grn.fit(data, config=exact.Config(normalisation="auto"))
    silenced = grn.knockouts(fitted, tested, data)
    figures = []
    for score, values in shifts(fitted, silenced, data, tuple(tested)).items():
        pairs = list(zip(values, truth, others, strict=True))
        signed = [correlation(v[o], t[o]) for v, t, o in pairs]
        ranks = [(stats.rankdata(np.abs(v[o])), stats.rankdata(np.abs(t[o]))) for v, t, o in pairs]
        size = [correlation(*pair) for pair in ranks]
        figures += summary(f"knockout: THP-1, {score}, correlation", signed, "")
        figures += summary(f"knockout: THP-1, |{score}|, rank correlation of sizes", size, "")
    return figures


def on_lofgof(folder: Path) -> list[Figure]:
    """Rank the genes that respond to loss or gain of a regulator in mESC."""
    data, tested, truth, candidate = responders(folder)
    fitted = grn.fit(data, config=exact.Config(rows="regulators"))
    figures = []
    for score, values in shifts(fitted, grn.knockouts(fitted, tested, data), data, tested).items():
        found = score_matrix(np.abs(values).astype(float), truth, candidate)
        title = f"knockout: mESC lofgof, |{score}|, AUPRC ratio per regulator"
        chance = found["auprc_ratio_per_regulator_chance"]
        value, error = (found[f"auprc_ratio_per_regulator{part}"] for part in ("", "_se"))
        low, high = value - 1.96 * error, value + 1.96 * error
        figures.append(Figure(title, value, "ratio", "higher", chance, low, high))
    return figures


if __name__ == "__main__":
    main()
