"""Networks of other cell types say where edges are, as far as they foretell each other."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import evaluate, fit, network, priors
from infosem_jax.grn.priors.binding import bind, coverage
from infosem_jax.grn.priors.registry import read_priors

GENES = tuple(f"G{i:02d}" for i in range(60))
FACTORS = GENES[:12]
PAIRS = np.asarray(FACTORS)[:, None] != np.asarray(GENES)


def cell_types(seed=0, own=3.0, popular=1.5, types=3):
    """Return networks that have the popularity of targets and most edges in common."""
    rng = np.random.default_rng(seed)
    logit = -2.0 + popular * rng.standard_normal(60) + own * rng.standard_normal((12, 60)) * 0.5
    tables = []
    for _ in range(types):
        edges = (rng.uniform(size=(12, 60)) < 1 / (1 + np.exp(-logit))) & PAIRS
        row, column = np.nonzero(edges)
        names = np.asarray(GENES)
        tables.append(pd.DataFrame({"source": names[row], "target": names[column]}))
    return logit, tables


def logits(prior, genes=GENES, rows=FACTORS):
    context = priors.GeneContext(genes, rows, cells=30, site="logit")
    return np.asarray(bind(prior, context).distribution().mean)


def likeness(a, b):
    return np.corrcoef(a[PAIRS], b[PAIRS])[0, 1]


def test_edges_are_expected_where_other_networks_have_them():
    truth, tables = cell_types()
    found = logits(priors.KnownElsewhere(tuple(tables)))
    assert likeness(found, truth) > 0.7
    # Networks that foretell each other count for much, those that do not for little.
    strange = [cell_types(seed, types=1)[1][0] for seed in range(4)]
    assert found.std() > 1.5 > 0.75 > logits(priors.KnownElsewhere(tuple(strange))).std()
    # Of regulators without edges elsewhere, only the popularity of targets is known.
    without = [table[~table["source"].isin(FACTORS[:6])] for table in tables]
    part = logits(priors.KnownElsewhere(tuple(without)))
    assert np.ptp(part[:6], axis=0).max() < 0.1 < 1 < np.median(np.ptp(part[6:], axis=0))
    rng = np.random.default_rng(1)
    names = dict(zip(GENES, rng.permutation(GENES), strict=True))
    other = [table.replace({"target": names}) for table in tables]
    assert abs(likeness(logits(priors.KnownElsewhere(tuple(other))), truth)) < 0.2


def test_trust_is_learned_from_what_carries_over():
    context = priors.GeneContext(GENES, FACTORS, cells=30, site="logit")

    def trust(tables, known=None):
        told = coverage(priors.KnownElsewhere(tuple(tables), known), context)
        return told["trust in popularity"], told["trust in own edges"]

    both, own = trust(cell_types()[1]), trust(cell_types(popular=0.0, own=6.0)[1])
    assert own[1] > both[1] > 0 and both[0] > own[0]
    # Networks that have nothing in common are not trusted in what they do not share.
    strange = [cell_types(seed, types=1)[1][0] for seed in range(4)]
    assert max(trust(strange)) < 0.25 * max(both)
    _, (here, *there) = cell_types(types=4)
    label = [
        (a, b, int(((here["source"] == a) & (here["target"] == b)).any()))
        for a in FACTORS[:6]
        for b in GENES
        if a != b
    ]
    known = pd.DataFrame(label, columns=["source", "target", "label"])
    taught, against = trust(there, known), trust(there, known.assign(label=1 - known["label"]))
    assert min(taught) > 0 and against == (0.0, 0.0)
    only = known[known["label"] == 1]
    assert trust(there, only) == trust(there)
    assert trust(there[:1]) == (0.4, 1.4)


def test_species_and_spellings_are_matched():
    human = ("STAT1", "IRF1", "TP53", "POU5F1", "ACTB", "GAPDH")
    mouse = ("Stat1", "ENSMUSG00000018899", "Trp53", "Oct4", "Actb", "Gapdh")
    edges = pd.DataFrame({"source": ["STAT1"] * 3, "target": ["IRF1", "TP53", "POU5F1"]})
    edges = pd.concat([edges, pd.DataFrame({"source": ["IRF1"], "target": ["ACTB"]})])
    of_human, of_mouse = (
        logits(priors.KnownElsewhere((edges,)), names, names[:4]) for names in (human, mouse)
    )
    np.testing.assert_allclose(of_human, of_mouse)
    assert (of_human[0, [1, 2, 3]] > of_human[0, [4, 5]].max()).all()


def test_bad_networks_are_refused():
    context = priors.GeneContext(GENES, FACTORS, cells=30, site="logit")
    table = pd.DataFrame({"source": ["A"], "target": ["B"]})
    for prior, message in (
        (priors.KnownElsewhere(()), "at least one network"),
        (priors.KnownElsewhere((table,)), "genes look like G00, G01, G02, theirs like A"),
        (priors.KnownElsewhere((table[["source"]],)), "columns source and target, found source"),
        (priors.KnownElsewhere((table,), edges=1.0), "0 < edges < 1, found 1"),
    ):
        with pytest.raises(ValueError, match=message):
            bind(prior, context)
    with pytest.raises(ValueError, match="use it as the edge prior"):
        bind(priors.KnownElsewhere((table,)), dataclasses.replace(context, site="effect"))


def test_fits_gain_from_networks_of_other_cell_types(tmp_path):
    small = simulate(SimulationConfig(genes=60, regulators=8, cells=60), seed=2)
    rng = np.random.default_rng(0)
    files = []
    for i in range(2):
        there = small.network[["source", "target"]].sample(frac=0.6, random_state=i)
        wrong = pd.DataFrame(rng.choice(small.data.genes, (20, 2)), columns=["source", "target"])
        pd.concat([there, wrong]).to_csv(tmp_path / f"{i}.csv", index=False)
        files.append(str(tmp_path / f"{i}.csv"))
    ((_, both),) = read_priors(["none"], [f"known-elsewhere={','.join(files)}"]).items()
    scores = [
        evaluate(network(fit(small.data, edge=edge)), small.network)["auprc"]
        for edge in (None, both.edge)
    ]
    assert scores[1] > scores[0] + 0.05
