"""scGREAT: what it learns, what it looks at, and that fits share programs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import compilations
from sklearn.metrics import average_precision_score

from infosem_jax.data import dataset
from infosem_jax.data.io import embedding
from infosem_jax.engine import training
from infosem_jax.grn.baselines import scgreat
from infosem_jax.grn.baselines._scgreat_network import EncoderLayer
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.baselines.scgreat import PUBLISHED, ScGREATConfig

TINY = ScGREATConfig(
    hidden=8,
    width=8,
    layers=1,
    heads=2,
    feed_forward=8,
    dropout=0.0,
    head=(8, 4),
    head_dropout=0.0,
    batch_size=32,
    epochs=12,
    steps=6,
    rate=1e-2,
)
# Dropout takes long to compile, so only one configuration has it.
BLIND = replace(TINY, embedding=None, dropout=0.1, head_dropout=0.1, patience=2)
REGULATORS, GENES, CELLS = 6, 20, 30


def problem(seed=0):
    """Return expression, vectors of the targets that tell their edges, and labels of some pairs."""
    rng = np.random.default_rng(7)
    names = tuple(f"G{i:02d}" for i in rng.permutation(GENES))
    data = dataset(rng.gamma(2.0, size=(CELLS, GENES)), names, names[:REGULATORS])
    kind = rng.integers(0, 2, GENES)
    truth = np.broadcast_to(kind, (REGULATORS, GENES)) * 1.0
    vectors = rng.normal(size=(GENES, 3)) + 3 * kind[:, None]
    side = np.random.default_rng(seed).uniform(size=truth.shape)
    return Problem(
        data,
        names[:REGULATORS],
        names,
        np.where(side < 0.5, truth, np.nan),
        np.where((side >= 0.5) & (side < 0.75), truth, np.nan),
        seed,
        {"biobert": embedding(names[1:], vectors[1:])},
    )


def only(problems, config=TINY, **kwargs):
    (scores,) = scgreat.solve(problems, config, **kwargs)
    return scores


@pytest.fixture(scope="module")
def fitted():
    return only([problem()])


def test_what_text_tells_of_unseen_pairs_is_learned(fitted):
    of = problem()
    assert fitted.shape == (REGULATORS, GENES)
    unseen = ~np.isnan(of.validation)
    truth = of.validation[unseen]
    assert average_precision_score(truth, fitted[unseen]) > 0.9
    assert (fitted[unseen] > 0).mean() == pytest.approx(truth.mean(), abs=0.2)


def test_several_problems_train_in_one_program_and_each_as_alone(fitted):
    few = problem().labels.copy()
    few[:, ::3] = np.nan
    problems = [problem(), problem(seed=1), problem()._replace(labels=few)]
    with compilations() as compiled:
        together = list(scgreat.solve(problems, TINY))
    assert compiled.count("run_chunk") == 1
    np.testing.assert_allclose(together[0], fitted, rtol=1e-3, atol=1e-3)
    assert np.abs(together[1] - together[0]).max() > 0.1
    assert np.abs(together[2] - together[0]).max() > 0.1


def test_the_order_of_genes_and_cells_does_not_matter(fitted):
    of = problem()
    rng = np.random.default_rng(1)
    rows, columns, cells = (rng.permutation(n) for n in (REGULATORS, GENES, CELLS))
    data = dataset(
        of.data.x[cells][:, columns],
        np.asarray(of.genes)[columns].tolist(),
        of.regulators,
        cells=np.asarray(of.data.cells)[cells].tolist(),
    )
    shuffled = of._replace(
        data=data,
        regulators=tuple(np.asarray(of.regulators)[rows].tolist()),
        genes=data.genes,
        labels=of.labels[np.ix_(rows, columns)],
        validation=of.validation[np.ix_(rows, columns)],
    )
    found = only([shuffled])
    np.testing.assert_allclose(found, fitted[np.ix_(rows, columns)], rtol=1e-3, atol=1e-3)


def test_validation_labels_change_nothing_without_patience(fitted):
    of = problem()
    np.testing.assert_array_equal(only([of._replace(validation=1 - of.validation)]), fitted)


def test_expression_alone_is_enough_and_validation_stops_training():
    of = problem()._replace(embeddings={})
    told = []
    scores = only([of], BLIND, on_chunk=told.append)
    precision = 1 - np.asarray(told[-1].losses.held_out)[0]
    assert len(precision) == min(BLIND.epochs, int(precision.argmax()) + 1 + BLIND.patience)
    # The parameters of the best epoch are kept, and judged without dropout.
    judged = ~np.isnan(of.validation)
    expected = average_precision_score(of.validation[judged], scores[judged])
    assert precision.max() == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(only([of], BLIND), scores)


def test_the_published_network_has_the_published_parameters():
    features = scgreat.Features(jnp.zeros((2, 758)), jnp.zeros((2, 768)))
    params = jax.eval_shape(scgreat.ScGREATObjective(PUBLISHED).start, jax.random.key(0), features)

    def count(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    assert count(params["genes"]) == 758 * 512 + 512 + 512 * 768 + 768
    layer = 4 * (768 * 768 + 768) + 2 * 768 * 2048 + 2048 + 768 + 4 * 768
    head = 1536 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 256 + 256 + 256 + 1
    assert count(params["pairs"]) == 2 * 768 + 2 * layer + head + 1


def test_norms_before_the_parts_of_a_layer_are_an_option():
    key, tokens = jax.random.key(0), jnp.ones((3, 2, 8)) * jnp.arange(8.0)

    @jax.jit
    def encoded():
        layers = (EncoderLayer(replace(TINY, norm=norm)) for norm in ("post", "pre"))
        return [layer.init_with_output(key, tokens, True)[0] for layer in layers]

    post, pre = encoded()
    np.testing.assert_allclose(post.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(post.var(-1), 1, rtol=1e-3)
    assert np.abs(pre.mean(-1)).min() > 1


def test_gradients_are_clipped_before_adam():
    rule = training.step_rule("adam_clipped")
    start = {"a": jnp.zeros(2)}
    large, small = {"a": jnp.array([3.0, 4.0])}, {"a": jnp.array([0.03, 0.04])}
    _, state = rule.update(large, rule.init(start))
    clipped, _ = rule.update(small, state)
    _, state = optax.scale_by_adam().update(
        {"a": large["a"] / 50}, optax.scale_by_adam().init(start)
    )
    expected, _ = optax.scale_by_adam().update(small, state)
    np.testing.assert_allclose(clipped["a"], expected["a"], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({"labels": np.ones((REGULATORS, GENES))}, {}, "120 edges and 0 other pairs"),
        ({"labels": np.full((REGULATORS, GENES), np.nan)}, {}, "0 edges and 0 other pairs"),
        ({"embeddings": {}}, {}, "no embedding 'biobert', only none at all"),
        ({}, {"embedding": "bert"}, "only biobert"),
        ({}, {"heads": 3}, "heads: expected a number that divides the width"),
        ({}, {"head": (8, 3)}, "last number divides the first"),
        ({}, {"dropout": 1.0}, "dropout: expected a number below 1"),
        ({}, {"epochs": 0}, "epochs: expected at least 1"),
        ({}, {"rate": 0.0}, "rate: expected a number above 0"),
    ],
)
def test_bad_input_is_refused_before_training(change, config, message):
    with pytest.raises(ValueError, match=message):
        scgreat.solve([problem()._replace(**change)], replace(TINY, **config))
