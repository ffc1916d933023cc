"""The other methods of the field as methods of the benchmark, in sizes for two cores."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from infosem_jax.benchmark.grn.method import Method
from infosem_jax.grn.baselines import genelink, gnnlink, matrix_completion, one_hot, scgreat, trees
from infosem_jax.grn.baselines.problem import Problem, Scores

QUICK_EPOCHS = 2


def baseline_methods(*, quick: bool = False) -> dict[str, Method]:
    """Return the baselines by name; trained for a few epochs only where ``quick``."""

    def method(about: str, solve: Callable[..., Any], config: Any, **options: Any) -> Method:
        if quick and hasattr(config, "epochs"):
            config = replace(config, epochs=QUICK_EPOCHS)
        settings = {
            name: value if isinstance(value, str | int | float | bool) else str(value)
            for name, value in asdict(config).items()
        }
        solve = partial(solve, config=config)
        return Method(solve, about=about, settings=settings, **options)

    few = {"trees": 10} if quick else {}
    return {
        "genie3": method(
            "Regression trees (GENIE3 with 50 extremely randomised trees a gene).",
            trees.solve,
            replace(trees.GENIE3, **few),
        ),
        "one_hot": method(
            "Logistic regression on which regulator and which target it is: gene bias, learned.",
            one_hot.solve,
            one_hot.DEFAULT,
            uses="labels",
            random=False,
        ),
        "matrix_completion": method(
            "Low-rank completion of the matrix of labels.",
            matrix_completion.solve,
            matrix_completion.DEFAULT,
            uses="labels",
        ),
        "genelink": method(
            "GENELink, a graph attention network, in a reduced size.",
            genelink.solve,
            genelink.REDUCED,
            uses="labels",
        ),
        "gnnlink": method(
            "GNNLink, a graph convolutional network, in a reduced size.",
            gnnlink.solve,
            gnnlink.REDUCED,
            uses="labels",
        ),
        "gnnlink_directed": method(
            "GNNLink's encoder with a decoder that tells regulator and target apart.",
            gnnlink.solve,
            gnnlink.DIRECTED,
            uses="labels",
        ),
        "scgreat": method(
            "scGREAT, a transformer on expression and texts, in a reduced size.",
            _scgreat,
            scgreat.REDUCED,
            uses="labels",
        ),
    }


def _scgreat(problems: Sequence[Problem], config: scgreat.ScGREATConfig) -> Iterator[Scores]:
    """Use the texts where there are any, since BioBERT vectors cover few data sets."""
    known = problems[0].embeddings if problems else {}
    name = next((name for name in ("text", "biobert") if name in known), None)
    yield from scgreat.solve(problems, replace(config, embedding=name))
