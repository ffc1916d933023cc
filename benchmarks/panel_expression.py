"""A targeted panel of single cells: what its genes tell of the others, on cells and on new data.

    INFOSEM_DATA=DATA python benchmarks/panel_expression.py [--seeds 5] [--panel 100]

The reference are 1,000 blood cells (counts of all genes); the panel are the genes that vary most in
the training cells; the targets are all other genes that a twentieth of these express. Methods see
of a cell its counts of panel genes alone, divided by their mean. They are tested on a fifth of the
cells, which no method has seen, and on 1,000 cells that were given interferon. Scores are means
over targets of the correlation over single cells; nothing is pooled. Most of what single counts
vary by is chance, which no method can infer, so the score is also given of the twentieth of the
targets that ridge regression infers best in the held-out cells.
"""

from typing import TYPE_CHECKING

import numpy as np
from _record import Figure, data_folder, parser, print_table, report, run

if TYPE_CHECKING:
    from infosem_jax.expression import Profiles, Split

METHODS = "mean,ridge,knn,kernel,auto_fast"
EXPRESSED, HELD_OUT = 0.05, "held-out cells"


def main() -> None:
    from infosem_jax.expression import random_split, read_profiles
    from infosem_jax.scores import mean_interval

    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--panel", type=int, default=100, help="genes that are measured")
    options.add_argument("--methods", default=METHODS, help="split by commas")
    arguments = options.parse_args()
    folder = data_folder("expression", "expression/human_pbmc_ctrl.h5ad and _stim.h5ad")
    reference, treated = (
        read_profiles(folder / f"human_pbmc_{name}.h5ad") for name in ("ctrl", "stim")
    )
    methods, found = arguments.methods.split(","), {}
    for seed in range(2 if arguments.quick else arguments.seeds):
        split = random_split(len(reference.samples), seed=seed)
        for key, score in scores(reference, treated, split, arguments.panel, methods, seed):
            found.setdefault(key, []).append(score)
    test_share = 0.2 / 0.65
    rows, figures = [], []
    for (data, method), values in found.items():
        of_all, of_best = np.array(values).T
        own = mean_interval(of_all, shared=test_share if data == HELD_OUT else 0.0)
        gaps = np.array(values)[:, 0] - np.array(found[data, "ridge"])[:, 0]
        gap = mean_interval(gaps, shared=test_share if data == HELD_OUT else 0.0)
        text = f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
        rows.append((data, method, f"{own.mean:.4f}", f"{of_best.mean():.3f}", text))
        head = f"panel_expression: {data}, {method}"
        figures += [
            Figure(f"{head}, all genes", own.mean, "correlation", "higher", None, own.low,
                   own.high),
            Figure(f"{head}, best genes", float(of_best.mean()), "correlation", "higher"),
            Figure(f"{head}, minus ridge", gap.mean, "correlation", "higher", None, gap.low,
                   gap.high),
        ]  # fmt: skip
    print_table(("tested on", "method", "per gene", "best genes", "minus ridge [95 %]"), rows)
    report(figures, arguments)


def scores(
    reference: "Profiles",
    treated: "Profiles",
    split: "Split",
    size: int,
    methods: list[str],
    seed: int,
):
    """Yield, for each data set and method, the correlation of all and of the best targets."""
    from infosem_jax.expression import METHODS, gene_pearson, log_counts, make_task, panel_pair

    logs = log_counts(reference).x[split.train]
    expressed = (reference.x[split.train] > 0).mean(0) >= EXPRESSED
    order = np.argsort(np.where(expressed, -logs.var(0), np.inf), kind="stable")
    panel = tuple(reference.genes[i] for i in order[:size])
    pair, new = panel_pair(reference, panel), panel_pair(treated, panel)
    targets = tuple(
        gene
        for gene, kept in zip(reference.genes, expressed, strict=True)
        if kept and gene not in panel and gene in new[1].genes
    )
    best = None
    for data, cohort in ((HELD_OUT, None), ("interferon", new)):
        own = split if cohort is None else split._replace(test=split.test[:0])
        problem = make_task(pair, panel, own, targets=targets, cohort=cohort)
        inferred = {m: METHODS[m].predict(problem.task, seed).mean for m in {"ridge", *methods}}
        each = {
            m: np.nan_to_num(gene_pearson(problem.y_test, mean)) for m, mean in inferred.items()
        }
        if best is None:
            best = each["ridge"] >= np.quantile(each["ridge"], 0.95)
        for method in methods:
            yield (data, method), (float(each[method].mean()), float(each[method][best].mean()))


if __name__ == "__main__":
    run(main)
