"""MuSe-GNN: layers, losses and training against loops, and what it does with odd studies."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from infosem_jax import graphs as gene_graphs
from infosem_jax import nn
from infosem_jax.embedding import (
    METHODS,
    Components,
    Config,
    GraphSettings,
    MuSeGNNConfig,
    StudyGraph,
    baselines,
    configured,
    evaluate,
    fit,
    joining,
    losses,
    make_study,
    model,
    network,
    predict,
    read_study,
    study_graph,
)
from infosem_jax.embedding.methods import CONTROLS, methods
from infosem_jax.embedding.vectors import unit_vectors
from infosem_jax.engine.interrupts import Interrupted
from infosem_jax.engine.saver import Saver

ENCODE = jax.jit(network.encode, static_argnames="config")
INIT = jax.jit(network.init, static_argnames=("n_labels", "config"))
# Of the size of quick methods, so that tests of both share a compilation.
SMALL = MuSeGNNConfig(dim=8, heads=(2, 1), epochs=15, encoder_rate=1e-2, decoder_rate=1e-2)


def graph(n=24, cells=30, first=0, seed=0, label="rna blood", name=None):
    """A study whose genes are named from a number on; features follow two groups of genes."""
    rng = np.random.default_rng(seed)
    group = (np.arange(n) + first) % 2
    x = rng.normal(size=(n, cells)) + np.where(group[:, None], 1, -1) * rng.normal(size=cells)
    a = (group[:, None] == group) & (rng.random((n, n)) < 0.5)
    a = a | a.T
    np.fill_diagonal(a, True)
    genes = tuple(f"G{i}" for i in range(first, first + n))
    return StudyGraph(
        name or f"s{seed}", label, "human", genes, genes, x.astype(np.float32), a, "test"
    )


def test_transformer_convolution_is_its_formula_dense_and_sparse():
    own = graph(10, 7)
    conv = nn.TransformerConv(3, 2)
    x = jnp.asarray(own.features)
    params = jax.jit(conv.init)(random.key(0), own.adjacency, x)
    kernel, bias = params["params"]["Dense_0"]["kernel"], params["params"]["Dense_0"]["bias"]
    q, k, v, s = np.split(np.asarray(x @ kernel + bias), 4, axis=1)
    wanted = np.zeros((10, 6))
    for i in range(10):
        near = np.flatnonzero(own.adjacency[i])
        for h in range(2):
            at = slice(3 * h, 3 * h + 3)
            logit = k[near, at] @ q[i, at] / np.sqrt(3)
            weight = np.exp(logit) / np.exp(logit).sum()
            wanted[i, at] = weight @ v[near, at]
    wanted += s
    receivers, senders = np.nonzero(own.adjacency)
    listed = gene_graphs.stack([gene_graphs.from_pairs(10, senders, receivers)])
    listed = jax.tree.map(lambda leaf: leaf[0], listed)

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def loss(params, edges):
        found = conv.apply(params, edges, x)
        return jnp.square(found).sum(), found

    both = []
    for edges in (own.adjacency, listed):
        (_, found), gradient = loss(params, edges)
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        both.append(gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *both)


def test_nodes_that_none_sends_to_gather_nothing():
    conv, x = nn.TransformerConv(3), jnp.ones((4, 2))
    edges = jnp.zeros((4, 4), bool)
    params = jax.jit(conv.init)(random.key(0), edges, x)
    gradient = jax.jit(jax.grad(lambda p: conv.apply(p, edges, x).sum()))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_graph_norm_centres_and_scales_and_mish_is_mish():
    x = random.normal(random.key(0), (50, 3)) * 4 + 7
    norm = nn.GraphNorm()
    y = norm.apply(norm.init(random.key(1), x), x)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(y.std(0), 1, atol=1e-3)
    at = jnp.linspace(-30, 40, 200)
    np.testing.assert_allclose(nn.mish(at), jax.nn.mish(at), atol=1e-5, rtol=1e-5)
    slopes = [jax.vmap(jax.grad(f))(at) for f in (nn.mish, jax.nn.mish)]
    np.testing.assert_allclose(slopes[0], slopes[1], atol=1e-5)


def test_the_decoder_takes_its_first_product_in_another_order_only():
    z = random.normal(random.key(0), (9, 4))
    params = network._decoder(9, random.key(1))
    h = z @ z.T
    for i in range(2):
        h = jax.nn.mish(h @ params[f"w{i}"] + params[f"b{i}"])
    wanted = h @ params["w2"] + params["b2"]
    np.testing.assert_allclose(network.decode(params, z), wanted, atol=1e-5)


def test_losses_are_their_formulas():
    rng = np.random.default_rng(0)
    logit, edges = rng.normal(size=(6, 6)).astype(np.float32) * 3, rng.random((6, 6)) < 0.4
    p = 1 / (1 + np.exp(-logit))
    wanted = -np.where(edges, np.log(p), np.log(1 - p)).mean()
    found = losses.reconstruction(jnp.asarray(logit), jnp.asarray(edges))
    assert float(found) == pytest.approx(wanted, rel=1e-5)

    a, b = rng.normal(size=(2, 5, 4)).astype(np.float32)
    here, there = np.array([0, 2, 0]), np.array([1, 3, 0])
    weight = np.array([0.5, 0.2, 0.0], np.float32)  # the last is padding
    wanted = -np.mean(
        [w * a[i] @ b[j] / np.linalg.norm(a[i]) / np.linalg.norm(b[j])
         for i, j, w in zip(here[:2], there[:2], weight[:2], strict=True)]
    )  # fmt: skip
    given = [jnp.asarray(part) for part in (a, b, here, there)]
    found = losses.similarity(*given, jnp.asarray(weight), jnp.int32(2))
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    assert float(losses.similarity(*given, jnp.zeros(3), jnp.int32(0))) == 0


def test_contrast_is_its_formula_and_a_gene_drawn_twice_does_not_repel_itself():
    rng = np.random.default_rng(1)
    u = rng.normal(size=(6, 4)).astype(np.float32)
    identity = np.array([0, 1, 0, 3, 4, 5])  # the third anchor is the first again
    u[2] = u[0]
    unit = u / np.linalg.norm(u, axis=1, keepdims=True)
    wanted = []
    for i in range(6):
        partner = (i + 3) % 6
        others = [j for j in range(6) if j != i and (identity[j] != identity[i] or j == partner)]
        total = sum(np.exp(unit[i] @ unit[j] / 0.1) for j in others)
        wanted.append(-np.log(np.exp(unit[i] @ unit[partner] / 0.1) / total))
    found = losses.contrast(jnp.asarray(u[:3]), jnp.asarray(u[3:]), jnp.asarray(identity), 0.1)
    assert float(found) == pytest.approx(np.mean(wanted), rel=1e-4)


def test_pairs_say_what_studies_share():
    a, b, apart = graph(20), graph(24, first=8, seed=1), graph(10, first=90, seed=2)
    pairs = losses.pair_studies([a, b, apart])
    assert pairs.count[0, 1] == pairs.count[1, 0] == 12 and pairs.count[0, 2] == 0
    for k in range(12):
        i, j = pairs.here[0, 1, k], pairs.there[0, 1, k]
        assert a.genes[i] == b.genes[j]
        mine = {a.genes[m] for m in np.flatnonzero(a.adjacency[i])}
        theirs = {b.genes[m] for m in np.flatnonzero(b.adjacency[j])}
        wanted = len(mine & theirs) / len(mine | theirs)
        assert pairs.weight[0, 1, k] == pytest.approx(wanted)
    assert np.flatnonzero(pairs.private[0, 1]).tolist() == [
        i for i in range(8) if a.adjacency[i].sum() > 1
    ]


def test_private_genes_and_their_neighbours_are_drawn_evenly():
    a, b = graph(20), graph(24, first=8, seed=1)
    pairs = jax.tree.map(jnp.asarray, losses.pair_studies([a, b]))
    gene, near = losses._draw(random.key(0), pairs, jnp.int32(0), jnp.int32(1), 4000)
    private = np.flatnonzero(pairs.private[0, 1])
    times = np.bincount(gene, minlength=20)
    assert set(np.flatnonzero(times)) == set(private)
    assert times[private].min() > 0.7 * 4000 / len(private)
    assert a.adjacency[gene, near].all() and (gene != near).all()
    first = private[0]
    wanted = set(np.flatnonzero(a.adjacency[first])) - {int(first)}
    assert set(np.asarray(near)[np.asarray(gene) == first]) == wanted


def test_padding_and_company_do_not_change_an_embedding():
    a, b = graph(20, 30), graph(20, 30, first=5, seed=1)
    together = network.group_studies([a, b], SMALL)
    assert len(together.groups) == 1
    params = INIT(random.key(0), together.groups, n_labels=1, config=SMALL)
    both = ENCODE(params, together.groups, config=SMALL)[0]
    for i, own in enumerate((a, b)):
        alone = network.group_studies([own], SMALL)
        mine = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], params["input_0"])
        z = ENCODE({**params, "input_0": mine}, alone.groups, config=SMALL)[0]
        np.testing.assert_allclose(z[0], both[i], atol=1e-5)
    wide = together.groups[0]._replace(
        features=np.pad(together.groups[0].features, ((0, 0), (0, 0), (0, 9)))
    )
    dense = params["input_0"]["TransformerConv_0"]["Dense_0"]
    kernel = jnp.pad(dense["kernel"], ((0, 0), (0, 9), (0, 0)), constant_values=5.0)
    first = {**params["input_0"], "TransformerConv_0": {"Dense_0": {**dense, "kernel": kernel}}}
    z = ENCODE({**params, "input_0": first}, [wide], config=SMALL)[0]
    np.testing.assert_allclose(z, both, atol=1e-5)


def test_an_embedding_follows_the_order_of_genes():
    own = graph(20)
    order = np.random.default_rng(0).permutation(20)
    moved = own._replace(
        genes=tuple(own.genes[i] for i in order), features=own.features[order],
        adjacency=own.adjacency[np.ix_(order, order)],
    )  # fmt: skip
    grouped = network.group_studies([own], SMALL)
    params = INIT(random.key(0), grouped.groups, n_labels=1, config=SMALL)
    z = ENCODE(params, grouped.groups, config=SMALL)[0][0]
    other = ENCODE(params, network.group_studies([moved], SMALL).groups, config=SMALL)[0][0]
    np.testing.assert_allclose(other, z[order], atol=1e-5)


def test_layers_are_shared_by_label_alone():
    studies = [graph(20, label=label, seed=i) for i, label in enumerate(("rna", "atac", "rna"))]
    grouped = network.group_studies(studies, SMALL)
    assert grouped.groups[0].label.tolist() == [0, 1, 0] and grouped.n_labels == 2


@pytest.mark.slow
def test_training_is_deterministic_and_a_seed_is_the_same_beside_others():
    studies = [graph(20), graph(24, 40, first=8, seed=1)]
    told = []
    both = fit(studies, config=Config("musegnn", SMALL), seeds=2, key=3, on_chunk=told.append)
    assert both.losses.shape == (2, 15) and (both.losses[:, -1] < both.losses[:, 0]).all()
    # As many, so that both share a compilation.
    other = fit(studies, config=Config("musegnn", SMALL), seeds=2, key=4)
    np.testing.assert_allclose(both.vectors[1], other.vectors[0], atol=1e-4)
    assert both.vectors.shape == (2, 44, 8) and both.genes.gene[20:] == studies[1].genes
    assert not np.allclose(both.vectors[0], both.vectors[1])
    assert (predict(both, seed=1).vectors == both.vectors[1]).all()
    assert (told[-1].done, told[-1].total, told[-1].unit) == (15, 15, "epochs")
    assert f"{both.losses[:, -1].mean():.4f}" in told[-1].text


@pytest.mark.slow
def test_components_stand_beside_what_was_learned():
    studies = [graph(20), graph(24, 40, first=8, seed=1)]
    both = fit(studies, config=Config("auto", SMALL), seeds=2, key=3)
    learned = fit(studies, config=Config("musegnn", SMALL), seeds=2, key=3)
    aligned = np.concatenate(baselines.pca_aligned(studies, Components(8)))
    assert both.vectors.shape == (2, 44, 16)
    np.testing.assert_array_equal(both.losses, learned.losses)
    for found, own in zip(both.vectors, learned.vectors, strict=True):
        cosine, *parts = (z @ z.T for z in map(unit_vectors, (found, own, aligned)))
        np.testing.assert_allclose(cosine, np.mean(parts, 0), atol=1e-5)


def test_muse_gnn_counts_as_far_as_edges_are_more_than_chance():
    whole = graph(20)
    assert joining.share([whole, graph(24, first=8, seed=1)]) == 0.5
    alone = whole.adjacency.copy()
    alone[:5], alone[:, :5] = False, False
    np.fill_diagonal(alone, True)
    sparse = whole._replace(adjacency=alone)
    assert joining.share([sparse]) == pytest.approx(0.5 * 15 / 20)
    # Of a gene's 19 pairs .095 are edges by chance at .005: one is (p = .09), two are not.
    ring = np.eye(20, dtype=bool) | np.eye(20, k=1, dtype=bool) | np.eye(20, k=-1, dtype=bool)
    tested = whole._replace(adjacency=ring, chance=0.005)
    assert joining.share([tested]) == pytest.approx(0.5 * 18 / 20)
    assert joining.share([whole, tested]) == pytest.approx(0.5 * 38 / 40)
    empty = whole._replace(adjacency=np.eye(20, dtype=bool))
    assert joining.share([empty]) == 0
    found = joining.beside_components([empty], [np.ones((20, 4), np.float32)])
    np.testing.assert_array_equal(found[0][:, :4], 0)
    np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-5)


def test_independent_counts_leave_muse_gnn_little_and_shared_levels_its_half():
    rng = np.random.default_rng(0)
    genes = [f"G{i}" for i in range(60)]
    noise = rng.poisson(5, (400, 60)).astype(np.float32)
    one = study_graph(make_study(noise, genes, name="noise"))
    assert one.edges == "cscore" and one.chance == 0.005
    # 4 % of genes have two such edges or more by chance: 2.2 genes, and 5 standard errors more.
    assert joining.share([one]) < 0.5 * 10 / 60
    levels = np.repeat(rng.gamma(2.0, 1.0, (400, 2)), 30, axis=1)
    joined = make_study(rng.poisson(5 * levels).astype(np.float32), genes, name="joined")
    assert joining.share([study_graph(joined)]) == 0.5
    corrected = study_graph(joined, GraphSettings(edges="cscore", correct=True))
    assert corrected.chance == pytest.approx(0.005 * corrected.degree / 59)


@pytest.mark.slow
def test_training_that_was_stopped_goes_on_to_the_same_embedding(tmp_path):
    studies = [graph(20), graph(24, 40, first=8, seed=1)]
    options = {"config": Config("musegnn", SMALL), "seeds": 2}
    with pytest.raises(Interrupted):
        fit(studies, saver=Saver(tmp_path, {}, stop=lambda: True), **options)
    saved = Saver(tmp_path, {}, resume=True)
    with pytest.raises(ValueError, match=r"differs in settings\.temperature"):
        other = Config("musegnn", replace(SMALL, temperature=0.1))
        fit(studies, saver=saved, config=other, seeds=2)
    epochs = []
    resumed = fit(studies, saver=saved, on_chunk=lambda p: epochs.append(p.done), **options)
    straight = fit(studies, **options)
    assert epochs[0] > 1 and resumed.losses.shape == (2, 15)
    np.testing.assert_array_equal(resumed.vectors, straight.vectors)
    np.testing.assert_array_equal(resumed.losses, straight.losses)


@pytest.mark.slow
def test_genes_that_studies_share_come_together():
    studies = [graph(24), graph(24, first=8, seed=1)]
    config = replace(SMALL, epochs=150, contrast=0.0)
    joined = model.embed(studies, 0, config)
    apart = model.embed(studies, 0, replace(config, similarity=0.0))
    assert cosines(joined) > 0.8 and cosines(joined) > cosines(apart) + 0.1


@pytest.mark.slow
def test_odd_studies_are_embedded_as_said():
    alone = fit([graph(20)], config=Config("musegnn", SMALL))
    assert np.isfinite(alone.losses).all()
    join = jax.jit(partial(losses.join, i=jnp.int32(0), samples=6, temperature=0.1))
    z = random.normal(random.key(0), (2, 20, 4))
    for first, joins in ((50, (False, False)), (0, (True, False)), (10, (True, True))):
        pairs = losses.pair_studies([graph(20), graph(20, first=first, seed=1)])
        parts = join(random.key(1), z, jax.tree.map(jnp.asarray, pairs))
        assert tuple(float(part) != 0 for part in parts) == joins


def test_settings_and_empty_input_are_refused():
    with pytest.raises(ValueError, match="at least one study"):
        fit([])
    # Types are checked in tests only, and would refuse it before the check that users meet.
    other = MuSeGNNConfig()
    object.__setattr__(other, "attention", "both")
    with pytest.raises(ValueError, match="attention: expected one of auto, dense, sparse"):
        other.__post_init__()
    with pytest.raises(ValueError, match="temperature"):
        MuSeGNNConfig(temperature=0.0)
    with pytest.raises(ValueError, match="did you mean 'musegnn'"):
        configured("muse_gnn", {})
    with pytest.raises(ValueError, match="did you mean 'musegnn'"):
        Config("muse_gnn")
    with pytest.raises(ValueError, match="expected Components for pca, found MuSeGNNConfig"):
        Config("pca", SMALL)
    with pytest.raises(ValueError, match="no setting 'epoch'; did you mean 'epochs'"):
        configured("gae", {"epoch": 3})
    with pytest.raises(ValueError, match="expected a value like"):
        configured("gae", {"epochs": "many"})
    with pytest.raises(ValueError, match="pca has no setting 'epochs'"):
        configured("pca", {"epochs": 3})
    with pytest.raises(ValueError, match="degree has no settings"):
        configured("degree", {"dim": 3})
    assert configured("musegnn", {"heads": [2, 1]}).settings.heads == (2, 1)
    assert Config().settings == MuSeGNNConfig() and Config("degree").settings is None


@pytest.mark.parametrize("name", METHODS)
def test_every_method_embeds_every_study_alike(name):
    # Of one size, so that both share a compilation.
    studies = [graph(24), graph(24, first=8, seed=1)]
    config = Config(name, methods(quick=True)[name].settings)
    found = fit(studies, config=config, key=1)
    width = {"auto": 16}.get(name, 2 if name in CONTROLS else 8)
    assert found.vectors.shape == (1, 48, width)
    again = fit(studies, config=config, key=1)
    assert (found.vectors == again.vectors).all() and (found.cluster == again.cluster).all()


def test_principal_components_are_those_of_numpy():
    own = graph(24, 40)
    (z,) = baselines.pca([own], baselines.Components(dim=3))
    x = (own.features - own.features.mean(0)) / own.features.std(0)
    values = np.linalg.eigvalsh(x @ x.T)[::-1][:3]
    np.testing.assert_allclose(z.T @ z, np.diag(values), rtol=1e-3, atol=0.05)


def test_aligned_components_undo_a_turn_of_a_study():
    own = graph(24, 40)
    # The same genes in cells of another order have the same components up to a turn.
    turned = own._replace(name="turned", features=own.features[:, ::-1].copy())
    wide = baselines.Components(dim=3)
    a, b = baselines.pca_aligned([own, turned], wide)
    np.testing.assert_allclose(a, b, atol=1e-3)
    alone = baselines.pca([own], wide)[0]
    assert np.corrcoef(np.abs(a @ a.T).ravel(), np.abs(alone @ alone.T).ravel())[0, 1] > 0.999
    apart = graph(24, 40, first=50, seed=1)
    assert np.isfinite(baselines.pca_aligned([own, apart], wide)[1]).all()


def test_the_control_knows_the_number_of_neighbours_alone():
    own = graph(24)
    other = own._replace(features=own.features[:, ::-1] * 3)
    (z,), (same,) = baselines.degree([own]), baselines.degree([other])
    assert (z == same).all()
    number = own.adjacency.sum(1)
    assert (z[number == number.max()] == z[number.argmax()]).all()


@pytest.mark.parametrize("name", ["gene2vec", "gae"])
def test_graph_baselines_learn_their_graph(name):
    own = graph(40, 30)
    settings = {"gene2vec": {"epochs": 2000}, "gae": {"epochs": 300, "rate": 1e-2}}[name]
    (z,) = configured(name, {"dim": 8, **settings}).predict([own], 0)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    cosine = unit @ unit.T
    group = np.arange(40) % 2
    same = (group[:, None] == group) & ~np.eye(40, dtype=bool)
    assert cosine[same].mean() > cosine[group[:, None] != group].mean() + 0.2


def test_a_study_without_edges_is_no_text_for_words():
    own = graph(24)._replace(adjacency=np.eye(24, dtype=bool))
    with pytest.raises(ValueError, match="expected edges"):
        baselines.embed("gene2vec", [own], 0)


def test_baselines_of_one_shape_share_a_compilation():
    one, other = baselines.Objective("gae", 4), baselines.Objective("gae", 4)
    assert one == other and hash(one) == hash(other)
    assert hash(model.Objective(SMALL, 1)) == hash(model.Objective(replace(SMALL), 1))


@pytest.mark.slow
def test_real_slices_are_joined_and_their_graphs_told_better_than_by_components(real_data):
    folder = real_data / "expression"
    graphs = [
        study_graph(read_study(folder / f"human_breastcancer_ST_layer{i}.h5ad"),
                    GraphSettings(genes=100))
        for i in (1, 2)
    ]  # fmt: skip
    config = MuSeGNNConfig(epochs=150, encoder_rate=1e-3)
    # The first two share a compilation.
    apart = replace(config, similarity=0.0, contrast=0.0)
    found, alone, components = (
        evaluate(predict(fit(graphs, config=own)), graphs)
        for own in (Config("musegnn", config), Config("musegnn", apart), Config("pca"))
    )
    assert found["auc"] > components["auc"] + 0.1
    assert found["common_ratio"] > components["common_ratio"]
    # Not asked to lie above components in iLISI: the leading ones of two slices are alike anyway.
    for name in ("ilisi", "common_ratio"):
        assert found[name] > alone[name] + 0.1


def cosines(vectors):
    """Mean cosine of the genes that both studies have: the last 16 of the first."""
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in vectors)
    return float((a[8:] * b[:16]).sum(1).mean())
