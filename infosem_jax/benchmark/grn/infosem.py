"""InfoSEM as a method of the benchmark: with and without priors, and with priors that know nothing.

All variants share data, recipe and prior scale: ``none`` is the prior of B with mean 0.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from infosem_jax.benchmark.grn.controls import (
    CONTROLS,
    embedding_cosine,
    random_embedding,
    symbol_embedding,
)
from infosem_jax.benchmark.grn.method import Method
from infosem_jax.benchmark.grn.stacking import stack
from infosem_jax.data.gene_features import expression_embedding, join_embeddings
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
    KnownElsewhere,
    LabelledEdges,
    LearnedEdges,
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
LABELLED = Config(rows="regulators", epochs=45, rate_priors=0.02)
QUICK = {"epochs": 10}
COMPONENTS = 32
# Of a gene, in a graph of like embeddings.
NEIGHBOURS = 10

# Scale of what networks of embeddings learn; next to nothing leaves the table of genes.
TABLE_ONLY = 1e-3

# Priors of a problem; several are fitted each, and their gates stacked (`stacking.stack`).
Build = Callable[[Problem], list[Priors]]


def infosem_methods(*, quick: bool = False) -> dict[str, Method]:
    """Return the variants by name; trained for a few epochs only where ``quick``."""
    plain = replace(REDUCED, **QUICK) if quick else REDUCED
    labelled = replace(LABELLED, **QUICK) if quick else LABELLED
    specific = deepsem("cell-type-specific", epochs=40, rate_networks=3e-4, rate_edges=6e-5)
    specific = replace(specific, **QUICK) if quick else specific

    def method(about: str, build: Build, config: Config = plain, **options) -> Method:
        return Method(
            partial(_solve, build=build, config=config),
            about=about,
            settings={"epochs": config.epochs, "rows": config.rows},
            **options,
        )

    text, biobert = (partial(_given, name) for name in ("text", "biobert"))
    found = {
        "deepsem": method(
            "DeepSEM's recipe for non-specific networks: InfoSEM without priors as published.",
            lambda problem: [Priors(MeanAbsolute(rows=None))],
        ),
        "deepsem_specific": method(
            "DeepSEM's recipe for cell-type-specific networks.",
            lambda problem: [Priors(MeanAbsolute(1.0, rows=None))],
            specific,
        ),
        "infosem_none": method(
            "InfoSEM without prior knowledge: effects are Normal(0, 0.05).",
            lambda problem: [Priors(Normal(SCALE))],
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
        "infosem_C": method(
            "InfoSEM-C: labels are observations of the gates; genes are known by expression only.",
            partial(label_priors, text=None),
            labelled,
            uses="labels",
        ),
        "infosem_BC": method(
            "InfoSEM-BC: C, with texts as a prior of the effects and as features of genes.",
            partial(label_priors, text="given"),
            labelled,
            uses="labels",
            needs=("text",),
        ),
        "infosem_BC_shuffled": method(
            "Control: InfoSEM-BC with texts permuted among genes.",
            partial(label_priors, text="shuffled"),
            labelled,
            uses="labels",
            needs=("text",),
        ),
    }
    found |= {
        "exact_none": Method(
            partial(_solve_exactly, build=lambda problem: None),
            random=False,
            about="The exact engine without prior knowledge.",
        ),
        "exact_B": Method(
            partial(_solve_exactly, build=lambda problem: GeneSimilarity(text(problem))),
            random=False,
            about="The exact engine with InfoSEM-B's prior: genes with like texts.",
            needs=("text",),
        ),
        "exact_B_shuffled": Method(
            partial(
                _solve_exactly,
                build=lambda problem: shuffled(GeneSimilarity(text(problem)), problem.seed),
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
            partial(_solve_labelled, texts=texts, beside=beside),
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
            partial(_solve_elsewhere, control=control),
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
                build: Build = partial(neighbour_priors, name=name, control=control)
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


def neighbour_priors(problem: Problem, *, name: str, control: bool = False) -> list[Priors]:
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
    return [Priors(GraphPrior(graph, scale=SCALE))]


def label_priors(problem: Problem, text: str | None) -> list[Priors]:
    """Return priors of C, and of BC where there are texts, from the narrowest to the widest.

    What labels say of genes by themselves, of their expression, and of their texts may or may not
    carry over to other pairs; the validation labels decide how much each of these counts.

    Parameters
    ----------
    problem
        Its training labels, expression and texts count.
    text
        ``given``; ``shuffled``, with texts permuted among genes; or None, for C.
    """
    table = _table(problem)
    data = _with_regulators(problem)
    vectors = expression_embedding(data, components=min(COMPONENTS, min(data.x.shape) - 1))
    pairs = ["correlation", "partial_correlation_ridge"]
    controls = {name: CONTROLS[name] for name in pairs}
    effect: Prior = Normal(SCALE)
    wide = None
    if text is not None:
        similarity = GeneSimilarity(_given("text", problem), scale=SCALE)
        effect = shuffled(similarity, problem.seed) if text == "shuffled" else similarity
        controls["text"] = embedding_cosine(effect.embedding)
        wide = join_embeddings(data.genes, effect.embedding, vectors)
    whole = problem._replace(genes=data.genes)
    whole = whole._replace(labels=np.full((len(whole.regulators), len(data.genes)), np.nan))
    features = {
        name: pd.DataFrame(
            control(whole), pd.Index(whole.regulators), pd.Index(whole.genes)
        ).fillna(0.0)
        for name, control in controls.items()
    }
    edges = [
        LearnedEdges(table, vectors, features, weight_scale=TABLE_ONLY),
        LearnedEdges(table, vectors, features),
    ]
    if wide is not None:
        edges.append(LearnedEdges(table, wide, features))
    return [Priors(effect, edge) for edge in edges]


def _similar(
    problem: Problem, *, vectors: Callable[[Problem], Embedding], control: bool = False
) -> list[Priors]:
    prior = GeneSimilarity(vectors(problem), scale=SCALE)
    return [Priors(shuffled(prior, problem.seed) if control else prior)]


def _roles(problem: Problem, *, control: bool = False) -> list[Priors]:
    prior = GeneEmbedding(problem.embeddings["text"], scale=SCALE)
    return [Priors(shuffled(prior, problem.seed) if control else prior)]


def _random(problem: Problem) -> Embedding:
    return random_embedding(problem.data.genes, seed=problem.seed)


def _spelling(problem: Problem) -> Embedding:
    return symbol_embedding(problem.data.genes, seed=0)


def _solve(
    problems: Sequence[Problem], *, build: Build, config: Config
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
            priors = {f"{j} {k}": p for j in alike for k, p in enumerate(build(problems[j]))}
            keys = {name: problems[int(name.split()[0])].seed for name in priors}
            fits = {
                job.prior: _read(fitted, problems[int(job.prior.split()[0])])
                for job, fitted in fit_many({data.name: data}, priors, configs=config, key=keys)
            }
            for j in alike:
                own = [fits[name] for name in priors if name.split()[0] == str(j)]
                results[j] = own[-1]
                if len(own) > 1:
                    gates = [fit[""] for fit in own]
                    results[j] = {**own[-1], "": stack(gates, problems[j].validation)}
        yield results.pop(i)


def _solve_exactly(
    problems: Sequence[Problem], *, build: Callable[[Problem], Prior | None]
) -> Iterator[Scores]:
    for problem in problems:
        fitted = exact.fit(_with_regulators(problem), build(problem))
        yield fitted.score[_places(fitted, problem)].astype(np.float64)


def _solve_elsewhere(problems: Sequence[Problem], *, control: bool) -> Iterator[Scores]:
    for problem in problems:
        others = problem.others
        if control:
            rng = np.random.default_rng(problem.seed)
            names = np.unique(np.concatenate([table["target"].to_numpy(str) for table in others]))
            to = pd.Series(rng.permutation(names), names)
            others = tuple(table.assign(target=np.asarray(to[table["target"]])) for table in others)
        fitted = exact.fit(_with_regulators(problem), edge=KnownElsewhere(others))
        yield fitted.score[_places(fitted, problem)].astype(np.float64)


def _solve_labelled(
    problems: Sequence[Problem], *, texts: str | None, beside: bool = False
) -> Iterator[Scores]:
    for problem in problems:
        effect = None if texts is None else GeneSimilarity(_given("text", problem))
        if effect is not None and texts == "shuffled":
            effect = shuffled(effect, problem.seed)
        others = problem.others if beside else ()
        edge = LabelledEdges(_table(problem), effect and effect.embedding, others)
        fitted = exact.fit(_with_regulators(problem), effect, edge)
        yield fitted.score[_places(fitted, problem)].astype(np.float64)


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
