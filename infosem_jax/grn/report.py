"""The report of a fit: one page on what was fitted, what came out, and how to read it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax._typing import Array, Path
from infosem_jax.data._files import atomic_write
from infosem_jax.grn.networks import Network, edges
from infosem_jax.outputs.page import svg
from infosem_jax.outputs.render import render

if TYPE_CHECKING:
    pass

TABLE_EDGES = 25
STRONG_EDGES = 1000
SURE = 0.9


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
        Columns ``seed, epoch, loss, held_out``; no rows where nothing was trained.
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
    """

    title: str
    dataset: dict[str, Any]
    priors: list[dict[str, Any]]
    losses: pd.DataFrame
    network: Network
    prior_mean: Float[Array, "regulators genes"] | None
    comparison: pd.DataFrame | None
    notes: list[str]
    config: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, str]


def write_report(path: Path, report: Report) -> None:
    """Write the report as one HTML page that needs no other file, no script and no network.

    Raises
    ------
    ValueError
        If a table lacks columns, a weight is not finite, or shapes do not agree.
    """
    pairs = _pairs(report)
    page = render(
        "report.html",
        show=_show,
        report=report,
        network=report.network,
        seeds=report.losses["seed"].nunique(),
        edges=_edge_rows(report.network),
        gate=report.network.probability is not None,
        sure=SURE,
        figures=_figures(report, pairs),
        correlation=_correlation(pairs),
        config=list(_flat(report.config)),
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _edge_rows(network: Network) -> list[dict[str, Any]]:
    rows = edges(network, top=TABLE_EDGES).to_dict("records")
    return [row | {"verb": _verb(row["weight"])} for row in rows]


def _verb(weight: float) -> str:
    return "activates" if weight > 0 else "represses" if weight < 0 else "has no effect on"


def _figures(report: Report, pairs: tuple[np.ndarray, np.ndarray] | None) -> dict[str, Any]:
    """Draw every figure as SVG text; those that have nothing to show are None."""
    from infosem_jax.grn import plot

    network, strong = report.network, edges(report.network, top=STRONG_EDGES)
    total = pd.Series(strong["weight"].abs().groupby(strong["source"]).sum())
    leaders = [str(name) for name in total.nlargest(3).index]
    return {
        "top_edges": svg(plot.top_edges(network, TABLE_EDGES), "top"),
        "out_degree": svg(plot.out_degree(network, top=STRONG_EDGES), "degree"),
        "strong": len(strong),
        "neighbourhoods": [
            (name, svg(plot.neighbourhood(network, name), f"near{i}"))
            for i, name in enumerate(leaders)
        ],
        "losses": svg(plot.losses(report.losses), "losses") if len(report.losses) else None,
        "prior": svg(plot.prior_posterior(*pairs), "prior") if pairs else None,
        "comparison": (
            svg(plot.comparison(report.comparison), "comparison")
            if report.comparison is not None
            else None
        ),
    }


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
    candidate = np.asarray(network.regulators)[:, None] != np.asarray(network.genes)
    prior = np.asarray(report.prior_mean)[candidate]
    return (prior, np.asarray(network.weight)[candidate]) if np.ptp(prior) > 0 else None


def _correlation(pairs: tuple[np.ndarray, np.ndarray] | None) -> float | None:
    return float(np.corrcoef(*pairs)[0, 1]) if pairs and np.ptp(pairs[1]) > 0 else None


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _show(value: object) -> str:
    """Write a value as a reader expects it."""
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}" if abs(int(value)) >= 10_000 else str(value)
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, list | tuple | set):
        return ", ".join(map(_show, value)) or "none"
    return str(value)
