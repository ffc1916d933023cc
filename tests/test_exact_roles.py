"""What vectors of two genes say of an effect, learned by the exact engine in closed form."""

import numpy as np
import pandas as pd
import pytest

from infosem_jax.data.dataset import normalise
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import exact, priors
from infosem_jax.grn.exact import roles
from infosem_jax.grn.metrics import score_matrix

CONFIG = SimulationConfig(
    genes=80, regulators=20, cells=100, embedding_dimensions=16, embedding_information=0.9
)
SHARE, RANK, SIZE = 0.4, 3, 0.05


def effects_of_others(x, rows, reported, H, size):
    """Expected effects on each target, by one regression on the cells of all other targets."""
    t = np.sqrt(SHARE / (1 - SHARE) / len(rows))
    designs, answers = [], []
    for j in range(x.shape[1]):
        acts = [row for row in rows if row != j]
        Z = x[:, acts]
        root = np.linalg.cholesky(np.eye(len(x)) + t**2 * Z @ Z.T)
        y = np.linalg.solve(root, x[:, j])
        noise = (1 + y @ y) / (1 + len(x) - 2)
        heard = [rows[i] for i in reported if rows[i] != j]
        B = np.kron(H[j], np.linalg.solve(root, t * x[:, heard] @ H[heard]))
        designs.append(B / np.sqrt(noise))
        answers.append(y / np.sqrt(noise))
    found = np.zeros((len(rows), x.shape[1]))
    for j in range(x.shape[1]):
        B = np.vstack(designs[:j] + designs[j + 1 :])
        y = np.concatenate(answers[:j] + answers[j + 1 :])
        A = np.linalg.solve(B.T @ B + np.eye(B.shape[1]) / size**2, B.T @ y)
        found[reported, j] = H[[rows[i] for i in reported]] @ A.reshape(RANK, RANK).T @ H[j]
    return found


def test_effects_on_a_target_are_those_of_a_regression_on_all_others(monkeypatch):
    simulation = simulate(CONFIG, 0)
    data = normalise(simulation.data)
    rows = np.array([data.genes.index(name) for name in data.regulators])
    reported = np.array([0, 3, *range(5, 18)])
    rng = np.random.default_rng(0)
    # Vectors whose products are effects, so that the evidence is for some.
    left, _, right = np.linalg.svd(simulation.effect)
    H = (left + right.T)[:, :RANK] + 0.1 * rng.normal(size=(len(left), RANK))
    H /= np.sqrt((H**2).mean())
    monkeypatch.setattr(roles, "SIZES", np.array([SIZE]))
    found = roles.means_of_roles(
        H, RANK, basis=exact.decomposed(data, rows), reported=reported, r2=SHARE
    )
    expected = effects_of_others(data.x.astype(np.float64), rows, reported, H, SIZE)
    acts = rows[:, None] != np.arange(len(data.genes))
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found[acts], expected[acts], atol=1e-4 * np.ptp(expected))


@pytest.fixture(scope="module")
def fits():
    found = []
    for seed in range(3):
        simulation = simulate(CONFIG, seed)
        told = priors.GeneEmbedding(simulation.embedding)
        dealt = priors.shuffled(told, seed)
        found.append((simulation, *(exact.fit(simulation.data, p) for p in (None, told, dealt))))
    return found


def quality(simulation, fitted):
    rows = [simulation.data.genes.index(name) for name in fitted.regulators]
    candidate = np.asarray(rows)[:, None] != np.arange(len(fitted.genes))
    return score_matrix(fitted.score, simulation.effect[rows] != 0, candidate)["auprc"]


def test_vectors_that_know_help_and_those_of_other_genes_do_not(fits):
    gains = [[fit.log_evidence.sum() - none.log_evidence.sum() for fit in rest]
             for _, none, *rest in fits]  # fmt: skip
    told, dealt = np.transpose(gains)
    assert (told > 10).all() and (dealt < 3).all()
    ratios = [[quality(simulation, fit) / quality(simulation, none) for fit in rest]
              for simulation, none, *rest in fits]  # fmt: skip
    told, dealt = np.mean(ratios, 0)
    assert told > 1.1 and dealt > 0.95


def test_targets_that_go_together_teach_each_other(fits):
    simulation, none, *_ = fits[0]
    genes = np.asarray(simulation.data.genes)
    # Targets are linked where most of what acts on them is the same.
    likeness = np.nan_to_num(np.corrcoef(simulation.effect.T), nan=0.0)
    one, other = np.nonzero(np.triu(likeness > 0.6, 1))
    graph = pd.DataFrame({"source": genes[one], "target": genes[other]})
    smooth = priors.GraphSmooth(graph, strength=3.0)
    told = exact.fit(simulation.data, smooth)
    dealt = exact.fit(simulation.data, priors.Relabelled(smooth))
    gain, chance = (each.log_evidence.sum() - none.log_evidence.sum() for each in (told, dealt))
    assert gain > 10 and chance < 3
    assert quality(simulation, told) > quality(simulation, none)
    assert quality(simulation, dealt) > 0.95 * quality(simulation, none)


def test_parts_of_other_priors_learn_roles_as_well(fits):
    simulation, _, told, _ = fits[0]
    prior = priors.GeneEmbedding(simulation.embedding)
    weak = exact.fit(simulation.data, 0.5 * prior)
    np.testing.assert_allclose(weak.score, told.score, rtol=1e-3, atol=1e-3)
    both = exact.fit(simulation.data, prior + priors.Normal())
    assert both.log_evidence.sum() == pytest.approx(told.log_evidence.sum(), abs=1)
