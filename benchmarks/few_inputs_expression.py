"""How few measured genes are enough: greedy inputs against random ones, on GTEx.

    INFOSEM_DATA=DATA python benchmarks/few_inputs_expression.py [--seeds 5] [--out DIR]

520 samples of 26 tissues, split by tissue; 100 genes are drawn for each seed, from which 1, 3, 10
and 30 inputs are chosen greedily on the training samples, or drawn; the targets are the other 367
genes, whatever the inputs. The claim: ten greedy inputs give the joined prediction at least 90 % of
the correlation per gene that the best single method reaches with all 100. ``auto`` includes the
graph network, and takes minutes a point; ``auto_fast``, taken here, does not. ``--out`` writes the
curve.
"""

from pathlib import Path

import numpy as np
from _record import Figure, data_folder, parser, print_table, report, run

DATA = ("l1000", "l1000/gtex_520x467.npz")
SIZES, LIMIT = (1, 3, 10, 30), 0.9
# Samples tested for each one trained on, whose splits are drawn from the same samples.
TEST_SHARE = 0.2 / 0.65
SINGLE = "ridge,knn,kernel"


def main() -> None:
    from infosem_jax.expression._figures import Curve, accuracy
    from infosem_jax.scores import mean_interval

    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--first", type=int, default=0, help="first of the seeds")
    options.add_argument("--joined", default="auto_fast", help="auto or auto_fast")
    options.add_argument("--single", default=SINGLE, help="methods beside it, split by commas")
    options.add_argument("--out", type=Path, help="folder for the figure")
    arguments = options.parse_args()
    methods = [arguments.joined, *arguments.single.split(",")]
    sizes = SIZES[1:3] if arguments.quick else SIZES
    found: dict[tuple[str, int, str], list[float]] = {}
    for seed in range(
        arguments.first, arguments.first + (1 if arguments.quick else arguments.seeds)
    ):
        for place, score in scores(methods, sizes, seed):
            found.setdefault(place, []).append(score)
    rows = [
        (
            how,
            str(n),
            method,
            f"{np.mean(values):.3f}",
            f"{np.min(values):.3f} to {np.max(values):.3f}",
        )
        for (how, n, method), values in found.items()
    ]
    print_table(("inputs", "number", "method", "per gene", "seeds"), rows)
    best = np.max([found["random", 100, method] for method in methods[1:]], 0)
    share = np.array(found["greedy", 10, arguments.joined]) / best
    print(f"Ten greedy inputs, of the best single method with 100: {share.round(3).tolist()}")
    name = "few_inputs_expression: ten greedy inputs over the best single method with 100"
    shared = mean_interval(share, shared=TEST_SHARE)
    figures = [Figure(name, shared.mean, "ratio", "higher", LIMIT, shared.low, shared.high)]
    for (how, n, method), values in found.items():
        own = mean_interval(values, shared=TEST_SHARE)
        name = f"few_inputs_expression: {how}, {n}, {method}"
        figures.append(Figure(name, own.mean, "correlation", "higher", None, own.low, own.high))
    report(figures, arguments)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        panels = {
            how: {m: _curve(found, how, m, Curve) for m in methods} for how in ("greedy", "random")
        }
        figure = accuracy(panels, "Mean correlation per gene", methods)
        figure.savefig(arguments.out / "few_inputs.png", dpi=150)


def scores(methods: list[str], sizes: tuple[int, ...], seed: int):
    """Yield the place and the correlation per gene of every choice of inputs and method."""
    from infosem_jax.benchmark.expression.sources import draw_problem, find_sources
    from infosem_jax.expression import METHODS, gene_pearson
    from infosem_jax.expression.selection import SELECTORS, restrict

    (source,), _ = find_sources(data_folder(*DATA), ["gtex_520x467"])
    problem = draw_problem(source, "random:100", "auto", (), seed)
    pool = problem.task
    for how in ("greedy", "random"):
        order = SELECTORS[how](pool, max(sizes) if how == "greedy" else 100, seed)
        for n in sizes if how == "greedy" else (*sizes, 100):
            task = restrict(pool, [pool.inputs[i] for i in order[:n]])
            for method in methods:
                mean = METHODS[method].predict(task, seed).mean
                yield (how, n, method), float(np.nanmean(gene_pearson(problem.y_test, mean)))


def _curve(found: dict, how: str, method: str, curve: type):
    places = sorted((n, values) for (h, n, m), values in found.items() if (h, m) == (how, method))
    sizes, values = zip(*places, strict=True)
    of_all = [f(v) for f in (np.mean, np.min, np.max) for v in values]
    n = len(sizes)
    return curve(sizes, of_all[:n], of_all[n : 2 * n], of_all[2 * n :])


if __name__ == "__main__":
    run(main)
