"""The report of a fit: one page on what was fitted, what came out, and how to read it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax._typing import Array, Path
from infosem_jax.grn.explorer import explored, explorer
from infosem_jax.grn.networks import Network, candidate_pairs, edges
from infosem_jax.outputs.page import Page, Picture, Section, Table, show, write_page

TABLE_EDGES = 25
SURE = 0.9
# Where this share of the strongest edges differ in their regulators, those of each are no others.
FEW_REPEATED = 0.8
READING = {
    "Weight": (
        "How much the regulator moves the target in the model, with every other regulator held "
        "still; above zero it activates, below zero it represses. Weights live on the model's own "
        "scale: compare them within this network. They are not fold changes, not units of "
        "expression, and not comparable between fits with different settings."
    ),
    "Standard deviation": (
        "How far the weight varies within the posterior and from one random start to the next. A "
        "small one says that the model is sure of its weight, not that the regulation has been "
        "shown."
    ),
    "Sign agreement": (
        "The share of the posterior that has the sign of the weight: 1 is full agreement, 0.5 a "
        "coin toss. 1 less it is the local false sign rate."
    ),
    "Probability": (
        "How likely the model holds the edge to exist at all. It starts from the prior on edges, "
        "so for pairs with a label it repeats much of what was put in."
    ),
    "Direction": (
        "Expression alone says little about who regulates whom: A acting on B and B acting on A "
        "explain the same co-expression almost equally well. The direction shown comes largely "
        "from the list of candidate regulators and from the priors."
    ),
    "Cell types": (
        "In a mixture of cell types, genes that one type expresses rise and fall together, and the "
        "first edges tell types apart; a response within a type, such as one to a stimulus, comes "
        "further down. Fit types on their own (--groupby), take them out (--covariates), or "
        "compare conditions: infosem activity and infosem contrast."
    ),
    "What is missing": (
        "A weight near zero is no proof that there is no regulation, and a strong one may pass "
        "through genes that were not measured. Take the ranking as a list of hypotheses, best "
        "first."
    ),
}

SCORE = {
    "Score": (
        "Log-odds that the edge exists, prior knowledge and expression together; edges are ranked "
        "by it. It is tempered, as rankings ask: how likely an edge is, Probability says."
    ),
}
EXACT_READING = {
    **SCORE,
    **READING,
    "Weight": (
        "Change of the target, in its standard deviations, when the regulator rises by one of its "
        "own and every other regulator is held still: a regression coefficient. Above zero it "
        "activates, below zero it represses."
    ),
    "Standard deviation": (
        "How far the weight varies within the posterior of linear regressions with normal noise, "
        "which is exact given the hyper-parameters: nothing was sampled, and no random start "
        "enters. It takes cells to be independent and effects to be linear, and is too small as "
        'far as they are not; cells = "effective" counts cells that err together as fewer.'
    ),
    "Probability": (
        "How likely the edge is to exist. It starts from the prior on edges, so for pairs with a "
        "label it repeats much of what was put in. Without one it starts from a share of edges "
        "that follows from all pairs and from how many regulators there are, in simulated "
        "networks to a factor of two or so, and rises with the score. Where it is known, set it: "
        "edges in the table [exact] of the settings."
    ),
}


class Report(NamedTuple):
    """What a report tells.

    Attributes
    ----------
    title
        Heading of the page.
    dataset
        What the data are: labels with values, such as ``{"cells": 758}``.
    priors
        One dictionary for each prior: ``site`` (what it is a prior on), ``name``, ``text`` (a
        sentence) and ``coverage`` (labels with values).
    losses
        Columns ``seed, epoch, loss, held_out``; no rows or None where nothing was trained.
    network
        The network.
    prior_mean
        Mean of the weights before the fit, [regulators, genes]; None where there is none.
    comparison
        Columns ``variant, seed, auprc``; None where variants were not compared.
    notes
        Warnings, in words.
    config, versions
        Settings, possibly nested, and versions of software.
    files
        What each file of the output folder holds, by its name.
    learned
        Hyper-parameters that were learned, by what they are.
    reading
        How to read each quantity, by its name.
    """

    title: str
    dataset: dict[str, Any]
    priors: list[dict[str, Any]]
    losses: pd.DataFrame | None
    network: Network
    prior_mean: Float[Array, "regulators genes"] | None
    comparison: pd.DataFrame | None
    notes: list[str]
    config: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, str]
    learned: Mapping[str, float] = {}
    reading: Mapping[str, str] = READING


def write_report(path: Path, report: Report) -> None:
    """Write the report as one HTML page that needs no other file and no network.

    Raises
    ------
    ValueError
        If a table lacks columns, a weight is not finite, or shapes do not agree.
    """
    from infosem_jax.grn import plot

    pairs = _pairs(report)
    told = None if pairs is None else report.prior_mean
    sections = [_given(report), _strongest(report.network), _explore(report.network, told)]
    sections += [_reading(report), _busiest(report)]
    if report.prior_mean is not None:
        sections.append(_prior_and_posterior(pairs, report.network))
    if report.comparison is not None:
        picture = Picture(
            plot.comparison(report.comparison).figure,  # pyright: ignore[reportArgumentType]
            "Agreement with the known network for each variant of the model: a point for each "
            "random start, a line for their mean. Differences smaller than the spread of the "
            "points are not differences.",
        )
        sections.append(Section("What the priors add", pictures=[picture]))
    if report.learned:
        sections.append(Section("What was learned on the way", facts=report.learned))
    if report.losses is not None and len(report.losses):
        picture = Picture(
            plot.losses(report.losses),
            "Loss over epochs, one line for each random start; lower is better. Lines that end "
            "apart mean that the starts found different networks, which the standard deviations "
            "above contain.",
        )
        sections.append(Section("How the fit went", pictures=[picture]))
    if report.files:
        sections.append(Section("Files beside this page", facts=report.files))
    facts = {"Settings": dict(_flat(report.config)), "Versions": report.versions}
    facts = {heading: own for heading, own in facts.items() if own}
    lede, overview = _summary(report)
    write_page(path, Page(report.title, lede, overview, report.notes, sections, facts))


def _summary(report: Report) -> tuple[str, list[str]]:
    """Say in words what was fitted to what, with which knowledge, and what came out first."""
    network = report.network
    seeds = 0 if report.losses is None else report.losses["seed"].nunique()
    cells = f" ({show(report.dataset['cells'])} cells)" if "cells" in report.dataset else ""
    starts = f", averaged over {seeds} fits from different random starts" if seeds > 1 else ""
    lede = (
        f"A gene regulatory network was fitted to {network.name}{cells}: how each of "
        f"{show(len(network.regulators))} candidate regulators acts on {show(len(network.genes))} "
        f"genes{starts}."
    )
    if report.priors:
        named = ", ".join(f"{prior['name']} on the {_site(prior)}" for prior in report.priors)
        overview = [f"Besides expression, it used prior knowledge: {named}."]
    else:
        overview = ["The fit was given expression alone, without prior knowledge of genes."]
    for edge in edges(network, top=1).to_dict("records"):
        if edge["weight"]:
            what = f"{edge['source']} {_verb(edge['weight'])} {edge['target']}"
            order = "strongest" if network.score is None else "most probable"
            overview.append(f"The {order} edge: {what}.")
    return lede, overview


def _given(report: Report) -> Section:
    cards = [
        Section(f"{p['name']} on the {_site(p)}", [p["text"]], facts=p["coverage"])
        for p in report.priors
    ]
    return Section("Data and prior knowledge", facts=report.dataset, parts=cards)


def _site(prior: Mapping[str, Any]) -> str:
    site = str(prior["site"])
    return {"effect": "size of effects", "logit": "odds of edges"}.get(site, site)


def _strongest(network: Network) -> Section:
    from infosem_jax.grn import plot

    table = edges(network, top=TABLE_EDGES, each=1)
    order = "strongest" if network.score is None else "most probable"
    text = (
        f"The {min(TABLE_EDGES, len(table))} {order} edges. The sign is called unsure where less "
        f"than {SURE:.0%} of the posterior agrees with it."
    )
    picture = Picture(
        plot.top_edges(network, TABLE_EDGES).figure,  # pyright: ignore[reportArgumentType]
        "Each point is an edge from a regulator to its target; the bar is one standard deviation "
        "to each side. A bar that crosses zero leaves even the sign open.",
    )
    tables = [_edge_table(network, table.head(TABLE_EDGES), text=text)]
    first = table.drop_duplicates("source").head(TABLE_EDGES)
    if table["source"].head(TABLE_EDGES).nunique() < FEW_REPEATED * len(first):
        title = f"The {order} edge of each regulator"
        more = "A few busy regulators can fill a list of edges; here each has one."
        tables.append(_edge_table(network, first, title=title, text=more))
    return Section(f"The {order} edges", pictures=[picture], tables=tables)


def _edge_table(network: Network, table: pd.DataFrame, *, text: str, title: str = "") -> Table:
    gate, ranked = network.probability is not None, network.score is not None
    rows = []
    for edge in table.to_dict("records"):
        unsure = " (sign unsure)" if edge["sign_agreement"] < SURE else ""
        weight = f"{edge['weight']:+#.3g}".replace("-", "−")
        texts = [f"{_verb(edge['weight'])}{unsure}", edge["target"]]
        texts += [f"{weight} ± {edge['sd']:#.2g}", f"{edge['sign_agreement']:.2f}"]
        texts += [f"{edge['probability']:.2f}"] * gate
        texts += [f"{edge['score']:+.2f}".replace("-", "−")] * ranked
        rows.append((edge["source"], texts))
    columns = ["Effect", "Target", "Weight ± sd", "Sign agreement", *["Probability"] * gate]
    columns += ["Score"] * ranked
    return Table("Regulator", columns, rows, text=text, title=title, words=2)


def _explore(network: Network, prior_mean: Float[Array, "regulators genes"] | None) -> Section:
    table = explored(network, prior_mean)
    pairs = len(network.regulators) * len(network.genes)
    text = (
        f"Search a gene, sort and filter its edges, and look at what surrounds it. {len(table):,} "
        f"of {pairs:,} pairs are here: the first of all, of each regulator and of each target; "
        "edges.csv beside this page lists more, network.h5ad all. In the picture, blue arrows "
        "activate and orange bars repress; the buttons below it save it as SVG."
    )
    return Section("Explore the network", [text], explorer=explorer(table))


def _verb(weight: float) -> str:
    return "activates" if weight > 0 else "represses" if weight < 0 else "has no effect on"


def _reading(report: Report) -> Section:
    gate = report.network.probability is not None
    shown = report.reading.items()
    facts = {name: text for name, text in shown if gate or name != "Probability"}
    return Section("How to read this", facts=facts)


def _busiest(report: Report) -> Section:
    from infosem_jax.grn import plot

    picture = Picture(
        plot.out_degree(report.network).figure,  # pyright: ignore[reportArgumentType]
        "How many of the strongest edges leave each regulator; as many are counted as there are "
        "genes. Many targets can mean a master regulator, or a gene that follows a process shared "
        "by all of them, such as the cell cycle.",
    )
    return Section("The busiest regulators", pictures=[picture])


def _prior_and_posterior(pairs: tuple[np.ndarray, np.ndarray] | None, network: Network) -> Section:
    from infosem_jax.grn import plot

    heading = "What the prior said, and what the data made of it"
    if pairs is None:
        text = "The prior mean is the same for every pair: it shrinks weights and prefers no edge "
        return Section(heading, [f"{text}over another."])
    text = []
    if np.ptp(pairs[1]) > 0:
        correlation = float(np.corrcoef(*pairs)[0, 1])
        meaning = ""
        if correlation > 0.9:
            meaning = ": the network repeats its prior almost unchanged, so it is not evidence "
            meaning += "beyond it"
        elif correlation < 0.1:
            meaning = ": the data moved nearly everything"
        text = [f"Prior and posterior means correlate at {correlation:.2f}{meaning}."]
    picture = Picture(
        plot.prior_posterior(*pairs, quantity=plot.unit(network)).figure,  # pyright: ignore[reportArgumentType]
        "Every pair of a regulator and a gene, by the mean of its weight before and after the fit. "
        "Pairs on the dashed line stayed where the prior put them; spread around it was learnt "
        "from expression.",
    )
    return Section(heading, text, [picture])


def _pairs(report: Report) -> tuple[np.ndarray, np.ndarray] | None:
    """Prior and posterior means of candidate pairs, or None where the prior tells none apart."""
    network = report.network
    if report.prior_mean is None:
        return None
    if np.shape(report.prior_mean) != np.shape(network.weight):
        raise ValueError(
            f"Expected prior means of shape {np.shape(network.weight)} (regulators, genes), found "
            f"{np.shape(report.prior_mean)}."
        )
    candidate = candidate_pairs(network)
    prior = np.asarray(report.prior_mean)[candidate]
    return (prior, np.asarray(network.weight)[candidate]) if np.ptp(prior) > 0 else None


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
