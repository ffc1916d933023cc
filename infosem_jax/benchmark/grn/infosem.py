"""InfoSEM as a method of the benchmark: with and without priors, and with priors that know nothing.

All variants share data, recipe and prior scale: ``none`` is the prior of B with mean 0. Only what
learns from labels has effects of the regulators alone, and is read out by its gates.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from infosem_jax.benchmark.grn.controls import embedding_cosine, random_embedding, symbol_embedding
from infosem_jax.benchmark.grn.method import Method
from infosem_jax.data.io import Embedding
from infosem_jax.embedding.vectors import nearest_pairs
from infosem_jax.grn import exact
from infosem_jax.grn.baselines.problem import Problem, Scores
from infosem_jax.grn.config import Config, deepsem
from infosem_jax.grn.fitting import fit_many
from infosem_jax.grn.priors import (
    GeneEmbedding,
    GeneSimilarity,
    GraphPrior,
    KnownEdges,
    KnownElsewhere,
    LabelledEdges,
    MeanAbsolute,
    Normal,
)
from infosem_jax.grn.priors.binding import Prior, Priors
from infosem_jax.grn.priors.embedded import shuffled
from infosem_jax.grn.result import Fit

SCALE = 0.05
# A third of the default's epochs at three times its rates: steps of RMSprop are as long as the rate
# says, so that effects end in the same place. Chosen on mHSC-E's transcription factors.
REDUCED = Config(epochs=30, rate_networks=3e-4, rate_edges=6e-5)
QUICK = {"epochs": 10}
# Of a gene, in a graph of like embeddings.
NEIGHBOURS = 10

# Prior of the effects of a problem, and priors of effects and edges.
Build = Callable[[Problem], Prior]
BuildBoth = Callable[[Problem], tuple[Prior | None, Prior | None]]


def infosem_methods(*, quick: bool = False) -> dict[str, Method]:
    """Return the variants by name; trained for a few epochs only where ``quick``."""
    plain = replace(REDUCED, **QUICK) if quick else REDUCED
    # Labels are of regulators.
    labelled = replace(plain, rows="regulators")
    specific = deepsem("cell-type-specific", epochs=40, rate_networks=3e-4, rate_edges=6e-5)
    specific = replace(specific, **QUICK) if quick else specific

    def method(
        about: str, build: Build, config: Config = plain, edge: Build | None = None, **options
    ) -> Method:
        return Method(
            partial(_solve, build=build, config=config, edge=edge),
            about=about,
            settings={"epochs": config.epochs, "rows": config.rows},
            **options,
        )

    text, biobert = (partial(_given, name) for name in ("text", "biobert"))
    found = {
        "deepsem": method(
            "DeepSEM's recipe for non-specific networks: InfoSEM without priors as published.",
            lambda problem: MeanAbsolute(rows=None),
        ),
        "deepsem_specific": method(
            "DeepSEM's recipe for cell-type-specific networks.",
            lambda problem: MeanAbsolute(1.0, rows=None),
            specific,
        ),
        "infosem_none": method(
            "InfoSEM without prior knowledge: effects are Normal(0, 0.05).",
            lambda problem: Normal(SCALE),
        ),
        "infosem_B": method(
            "InfoSEM-B: genes with like texts are expected to act on each other.",
            partial(_similar, vectors=text),
            needs=("text",),
        ),
        "infosem_B_shuffled": method(
            "Control: InfoSEM-B with texts permuted among genes.",
            partial(_similar, vectors=text, control=True),
            needs=("text",),
        ),
        "infosem_BC": method(
            "InfoSEM-BC: B, with gates that learn from labels what else to believe.",
            partial(_similar, vectors=text),
            labelled,
            edge=partial(_learned, texts="given"),
            uses="labels",
            needs=("text",),
        ),
        "infosem_BC_shuffled": method(
            "Control: InfoSEM-BC with texts permuted among genes.",
            partial(_similar, vectors=text, control=True),
            labelled,
            edge=partial(_learned, texts="shuffled"),
            uses="labels",
            needs=("text",),
        ),
        "infosem_BC_known": method(
            "InfoSEM-BC as in the paper: B, with labels as priors of the gates of their own pairs.",
            partial(_similar, vectors=text),
            labelled,
            edge=lambda problem: KnownEdges(_table(problem)),
            uses="labels",
            needs=("text",),
        ),
        "infosem_B_biobert": method(
            "InfoSEM-B with BioBERT vectors of gene symbols in place of texts.",
            partial(_similar, vectors=biobert),
            needs=("biobert",),
        ),
        "infosem_B_random": method(
            "Control: InfoSEM-B with random vectors.",
            partial(_similar, vectors=_random),
        ),
        "infosem_B_symbols": method(
            "Control: InfoSEM-B with vectors of the spelling of gene symbols.",
            partial(_similar, vectors=_spelling),
            knows_names=True,
        ),
        "infosem_B_roles": method(
            "InfoSEM-B with regulator and target roles learned from texts.",
            _roles,
            needs=("text",),
        ),
        "infosem_B_roles_shuffled": method(
            "Control: the same with texts permuted among genes.",
            partial(_roles, control=True),
            needs=("text",),
        ),
    }
    found |= {
        "exact_none": Method(
            partial(_solve_exactly, build=lambda problem: (None, None)),
            random=False,
            about="The exact engine without prior knowledge.",
        ),
        "exact_B": Method(
            partial(_solve_exactly, build=lambda problem: (GeneSimilarity(text(problem)), None)),
            random=False,
            about="The exact engine with InfoSEM-B's prior: genes with like texts.",
            needs=("text",),
        ),
        "exact_B_shuffled": Method(
            partial(
                _solve_exactly,
                build=lambda problem: (shuffled(GeneSimilarity(text(problem)), problem.seed), None),
            ),
            about="Control: the exact engine with texts permuted among genes.",
            needs=("text",),
        ),
    }
    for name, texts, about in (
        ("exact_C", None, "The exact engine, learning from labels what else to believe."),
        ("exact_BC", "given", "The same, with texts as well."),
        ("exact_BC_shuffled", "shuffled", "Control: the same with texts permuted among genes."),
        ("exact_BC_elsewhere", "given", "The same, with networks of other data sets beside texts."),
    ):
        beside = name.endswith("elsewhere")
        found[name] = Method(
            partial(_solve_exactly, build=partial(_from_labels, texts=texts, beside=beside)),
            "labels",
            knows_names=beside,
            random=texts == "shuffled",
            about=about,
            needs=("text",) if texts else (),
            elsewhere="beside" if beside else "",
        )
    for name, control in (("exact_elsewhere", False), ("exact_elsewhere_shuffled", True)):
        what = "Control: the same with other networks' targets permuted." if control else ""
        found[name] = Method(
            partial(_solve_exactly, build=partial(_from_others, control=control)),
            "labels",
            knows_names=True,
            random=control,
            about=what or "The exact engine, expecting edges where other data sets have them.",
            elsewhere="alone",
        )
    for name, vectors in (("text", text), ("biobert", biobert)):
        found[f"{name}_cosine"] = Method(
            partial(map, partial(_cosine, vectors=vectors)),
            random=False,
            about=f"Control: how alike the {name} vectors of two genes are, without expression.",
            needs=(name,),
        )
    return found


def embedding_methods(names: Sequence[str], *, quick: bool = False) -> dict[str, Method]:
    """Return InfoSEM-B with embeddings of a problem, by name, and with each permuted among genes.

    Parameters
    ----------
    names
        Names of embeddings that data sets have.
    quick
        Train for a few epochs only.
    """
    config = replace(REDUCED, **QUICK) if quick else REDUCED
    found = {}
    for name in names:
        for form in ("B", "graph"):
            for control in (False, True):
                build: Build = partial(neighbour_prior, name=name, control=control)
                if form == "B":
                    build = partial(_similar, vectors=partial(_given, name), control=control)
                what = "permuted among genes" if control else "as they are"
                found[f"infosem_{form}_{name}{'_shuffled' * control}"] = Method(
                    partial(_solve, build=build, config=config),
                    about=f"{'Control: ' * control}InfoSEM-{form} with {name} vectors, {what}.",
                    settings={"epochs": config.epochs, "rows": config.rows},
                    needs=(name,),
                    tested=True,
                )
    return found


def neighbour_prior(problem: Problem, *, name: str, control: bool = False) -> Prior:
    """Return a graph prior of nearest neighbours among the genes of a problem.

    Parameters
    ----------
    problem
        Its embeddings and genes count.
    name
        Which of the embeddings.
    control
        Permute the vectors among genes.
    """
    known = set(problem.data.genes)
    vectors = GeneSimilarity(_given(name, problem))
    own = (shuffled(vectors, problem.seed) if control else vectors).embedding
    at = [i for i, gene in enumerate(own.names) if gene in known]
    graph = nearest_pairs([own.names[i] for i in at], own.vectors[at], NEIGHBOURS)
    return GraphPrior(graph, scale=SCALE)


def _similar(
    problem: Problem, *, vectors: Callable[[Problem], Embedding], control: bool = False
) -> Prior:
    prior = GeneSimilarity(vectors(problem), scale=SCALE)
    return shuffled(prior, problem.seed) if control else prior


def _learned(problem: Problem, *, texts: str) -> Prior:
    return _from_labels(problem, texts=texts, beside=False)[1]


def _roles(problem: Problem, *, control: bool = False) -> Prior:
    prior = GeneEmbedding(problem.embeddings["text"], scale=SCALE)
    return shuffled(prior, problem.seed) if control else prior


def _random(problem: Problem) -> Embedding:
    return random_embedding(problem.data.genes, seed=problem.seed)


def _spelling(problem: Problem) -> Embedding:
    return symbol_embedding(problem.data.genes, seed=0)


def _solve(
    problems: Sequence[Problem], *, build: Build, config: Config, edge: Build | None = None
) -> Iterator[dict[str, Scores]]:
    """Fit the problems that share data and regulators in one program, and read them out."""
    results: dict[int, dict[str, Scores]] = {}
    for i, first in enumerate(problems):
        if i not in results:
            alike = [
                j
                for j, problem in enumerate(problems)
                if problem.data is first.data and problem.regulators == first.regulators
            ]
            data = _with_regulators(first)
            priors = {str(j): Priors(build(problems[j]), edge and edge(problems[j])) for j in alike}
            keys = {str(j): problems[j].seed for j in alike}
            for job, fitted in fit_many({data.name: data}, priors, configs=config, key=keys):
                results[int(job.prior)] = _read(fitted, problems[int(job.prior)])
        yield results.pop(i)


def _solve_exactly(problems: Sequence[Problem], *, build: BuildBoth) -> Iterator[Scores]:
    for problem in problems:
        fitted = exact.fit(_with_regulators(problem), *build(problem))
        yield fitted.score[_places(fitted, problem)].astype(np.float64)


def _from_others(problem: Problem, *, control: bool) -> tuple[None, Prior]:
    others = problem.others
    if control:
        rng = np.random.default_rng(problem.seed)
        names = np.unique(np.concatenate([table["target"].to_numpy(str) for table in others]))
        to = pd.Series(rng.permutation(names), names)
        others = tuple(table.assign(target=np.asarray(to[table["target"]])) for table in others)
    return None, KnownElsewhere(others)


def _from_labels(
    problem: Problem, *, texts: str | None, beside: bool
) -> tuple[Prior | None, Prior]:
    effect = None if texts is None else GeneSimilarity(_given("text", problem))
    if effect is not None and texts == "shuffled":
        effect = shuffled(effect, problem.seed)
    others = problem.others if beside else ()
    return effect, LabelledEdges(_table(problem), effect and effect.embedding, others)


def _table(problem: Problem) -> pd.DataFrame:
    """Return the training labels of a problem as a table."""
    row, column = np.nonzero(~np.isnan(problem.labels))
    return pd.DataFrame(
        {
            "source": np.asarray(problem.regulators)[row],
            "target": np.asarray(problem.genes)[column],
            "label": problem.labels[row, column],
        }
    )


def _with_regulators(problem: Problem):
    wanted = set(problem.regulators)
    regulators = tuple(gene for gene in problem.data.genes if gene in wanted)
    return problem.data._replace(regulators=regulators)


def _read(fitted: Fit, problem: Problem) -> dict[str, Scores]:
    if (fitted.diverged >= 0).any():
        raise FloatingPointError(f"{fitted.name}: training diverged; lower the learning rates.")
    places = _places(fitted, problem)

    def scores(values: np.ndarray) -> Scores:
        return values[0][places].astype(np.float64)

    weight = np.abs(scores(fitted.weight))
    if fitted.probability is not None:
        return {"": scores(fitted.probability), "weight": weight}
    prior = np.abs(scores(fitted.prior_mean))
    return {"": weight, "prior": prior} if np.ptp(prior) > 0 else {"": weight}


def _places(fitted: Fit | exact.Fit, problem: Problem) -> tuple[np.ndarray, ...]:
    rows = pd.Index(fitted.regulators).get_indexer(pd.Index(problem.regulators))
    columns = pd.Index(fitted.genes).get_indexer(pd.Index(problem.genes))
    return np.ix_(rows, columns)


def _given(name: str, problem: Problem) -> Embedding:
    return problem.embeddings[name]


def _cosine(problem: Problem, *, vectors: Callable[[Problem], Embedding]) -> Scores:
    return embedding_cosine(vectors(problem))(problem)
