import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infosem_jax import graphs
from infosem_jax.expression._messages import Dense, Sparse, routes, spread
from infosem_jax.expression.graph import gene_graph, neighbours
from infosem_jax.expression.task import Task

Y = np.random.default_rng(0).normal(size=(30, 23)).astype(np.float32)


def links(senders, receivers, n):
    """Return who hears whom, [receivers, senders]."""
    matrix = np.zeros((n, n), bool)
    matrix[receivers, senders] = True
    return matrix


def by_sorting(similarity, k):
    order = np.argsort(similarity, axis=1)
    matrix = np.zeros(similarity.shape, bool)
    np.put_along_axis(matrix, order[:, :k], True, 1)
    np.put_along_axis(matrix, order[:, -k:], True, 1)
    return matrix


@pytest.mark.parametrize("block", [1, 100, 2**22])
def test_neighbours_are_the_most_and_the_least_similar_genes(monkeypatch, block):
    monkeypatch.setattr("infosem_jax.expression.graph.BLOCK", block)
    expected = by_sorting(np.corrcoef(Y.T), 3)
    assert (links(*neighbours(Y, 3), 23) == expected).all()
    assert np.diag(expected).all()  # a gene resembles itself most


def test_cosine_depends_on_the_zero_of_the_scale_and_correlation_does_not():
    unit = (Y + 1) / np.linalg.norm(Y + 1, axis=0)
    assert (
        links(*neighbours(Y + 1, 3, similarity="cosine"), 23) == by_sorting(unit.T @ unit, 3)
    ).all()
    assert (links(*neighbours(Y + 1, 3), 23) == links(*neighbours(Y, 3), 23)).all()


def test_on_the_senders_side_links_point_the_other_way():
    receiver, sender = (links(*neighbours(Y, 3, side=side), 23) for side in ("receiver", "sender"))
    assert (sender == receiver.T).all()
    assert (receiver.sum(1) == 6).all() and (sender.sum(0) == 6).all()
    assert len(set(sender.sum(1))) > 1


def test_few_genes_are_all_linked_and_a_constant_one_is_no_trouble():
    assert links(*neighbours(Y[:, :5], 9), 5).all()
    assert not links(*neighbours(Y, 0), 23).any()
    assert np.isfinite(neighbours(Y * (np.arange(23) != 4), 3)[0]).all()
    with pytest.raises(ValueError, match="k of at least 0, found -1"):
        neighbours(Y, -1)


def make_task(at_input):
    n_inputs, covariate = len(at_input), np.zeros((30, 0), np.float32)
    x = np.random.default_rng(1).normal(size=(30, n_inputs)).astype(np.float32)
    names = tuple(f"t{i}" for i in range(23))
    inputs = tuple(names[at] if at >= 0 else f"i{i}" for i, at in enumerate(at_input))
    parts = (x, Y, x, Y, x, np.array(at_input), covariate, covariate, covariate)
    return Task(inputs, names, *parts)


def test_inputs_come_first_and_share_the_node_of_their_target():
    graph = gene_graph(make_task([7, -1, 2]), 3)
    assert graph.n_nodes == 3 + 21 and graph.n_inputs == 3
    assert graph.targets[[7, 2]].tolist() == [0, 2]
    assert sorted(graph.targets) == [0, *range(2, 24)]
    assert graph.n_edges == 3 * 24 + 21 * 6
    senders, receivers = (ends[: 21 * 6] for ends in (graph.sparse.senders, graph.sparse.receivers))
    assert min(senders) >= 3 and min(receivers) >= 3
    others = np.delete(np.arange(23), [7, 2])
    expected = by_sorting(np.corrcoef(Y[:, others].T), 3)
    at = graph.targets[others]
    assert (links(senders, receivers, 24)[np.ix_(at, at)] == expected).all()


def test_extra_nodes_follow_the_inputs():
    plain, extra = (gene_graph(make_task([-1, -1]), 3, extra=n) for n in (0, 4))
    assert extra.n_inputs == 6 and extra.n_nodes == plain.n_nodes + 4
    assert (extra.targets == plain.targets + 4).all()


N, CHANNELS, SAMPLES = 23, 3, 4
UNEVEN = np.random.default_rng(2).random((N, N)) < np.linspace(0, 0.9, N)[:, None]
GRAPHS = {"even": links(*neighbours(Y, 3), N), "uneven": UNEVEN, "empty": np.zeros((N, N), bool)}


def matrix_product(linked, weight, h):
    matrix = jnp.zeros((N, N)).at[np.nonzero(linked)].set(weight)
    return jnp.einsum("rs,sbc->rbc", matrix, h)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("room", [1, 2**22])
def test_sums_over_edges_and_gradients_equal_those_of_a_matrix(monkeypatch, kind, dense, room):
    monkeypatch.setattr("infosem_jax.expression._messages.TURN_BYTES", room)
    linked = GRAPHS[kind]
    receivers, senders = np.nonzero(linked)
    made = routes(graphs.from_pairs(N, senders, receivers), dense=dense)
    assert isinstance(made, Dense if dense else Sparse)
    numbers = np.random.default_rng(3)
    weight = jnp.asarray(numbers.normal(size=linked.sum()), jnp.float32)
    h = jnp.asarray(numbers.normal(size=(N, SAMPLES, CHANNELS)), jnp.float32)
    g = jnp.asarray(numbers.normal(size=h.shape), jnp.float32)

    def value_and_slopes(f):
        value, pull = jax.vjp(f, weight, h)
        return value, *pull(g)

    ours = jax.jit(lambda: value_and_slopes(lambda w, h: spread(made, w, h)))()
    expected = value_and_slopes(lambda w, h: matrix_product(linked, w, h))
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_rows_of_a_graph_with_hubs_are_mostly_full():
    receivers, senders = np.nonzero(UNEVEN)
    made = routes(graphs.from_pairs(N, senders, receivers), dense=False)
    assert isinstance(made, Sparse)
    for rows in (made.to, made.back):
        assert (np.diff(rows.node) >= 0).all() and set(rows.node) == set(range(N))
        assert sorted(rows.edge[rows.edge < len(senders)]) == list(range(len(senders)))
        assert rows.edge.size < 1.6 * len(senders) + N


def test_padding_of_a_graph_changes_nothing():
    receivers, senders = np.nonzero(UNEVEN)
    plain, padded = (
        routes(graphs.from_pairs(N, senders, receivers, n_edge=n), dense=False) for n in (None, 400)
    )
    jax.tree.map(np.testing.assert_array_equal, plain, padded)
