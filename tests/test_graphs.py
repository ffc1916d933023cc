import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from infosem_jax import graphs
from infosem_jax.nn import GAT, GCN

N = 7
SENDERS, RECEIVERS = np.array([0, 1, 2, 3, 3, 0]), np.array([1, 0, 1, 1, 4, 1])
WEIGHTS = np.array([1.0, 0.5, 2.0, 3.0, 0.3, 9.0])  # the last pair is the first again
X = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
NODES = jnp.asarray(np.pad(X, ((0, 1), (0, 0)), constant_values=np.pi))  # with one of padding


def graph(**settings):
    return graphs.from_pairs(N, SENDERS, RECEIVERS, weights=WEIGHTS, **settings)


def dense(made):
    """Return the weights as [receivers, senders] of a graph without its padding."""
    n = int(made.n_edge[0])
    matrix = np.zeros((N, N))
    assert len(set(zip(made.senders[:n], made.receivers[:n], strict=True))) == n
    matrix[made.receivers[:n], made.senders[:n]] = made.edges[:n]
    return matrix


def test_pairs_become_edges_sorted_by_receiver_and_padded_apart():
    made = graph(n_edge=9)
    assert dense(made)[[1, 0, 1, 1, 4], [0, 1, 2, 3, 3]].tolist() == pytest.approx(
        WEIGHTS[:5].tolist()
    )
    assert (np.diff(made.receivers) >= 0).all()
    assert made.n_node.tolist() == [N, 1] and made.n_edge.tolist() == [5, 4]
    assert (made.senders[5:] == N).all() and (made.receivers[5:] == N).all()


def test_symmetric_graphs_and_loops():
    both = dense(graph(symmetric=True, self_loops=0.25))
    assert (np.diag(both) == 0.25).all()
    assert ((both > 0) == (both > 0).T).all()
    assert both[1, 0] == 1.0 and both[0, 1] == 0.5  # named in both directions: each its own


def test_stacked_graphs_have_the_same_edges():
    one, two = graph(), graph(symmetric=True)
    stacked = graphs.stack([one, two])
    for i, made in enumerate((one, two)):
        alone = jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
        np.testing.assert_array_equal(dense(alone), dense(made))
        assert len(alone.senders) == alone.n_edge.sum() == graphs.roomy(len(two.senders))


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 1000, 4097])
def test_room_is_an_eighth_at_most(n):
    assert n <= graphs.roomy(n) <= n * 9 / 8


def test_bad_pairs_are_refused():
    with pytest.raises(ValueError, match="0 to 6, found 0 to 7"):
        graphs.from_pairs(N, np.array([0]), np.array([7]))
    with pytest.raises(ValueError, match="room for 5 edges, found n_edge=4"):
        graph(n_edge=4)


def apply(layer, made):
    params = layer.init(random.key(0), made, NODES)
    # A bias of zero would hide where it is added.
    params = jax.tree.map(lambda p: p + 0.1, params)
    return params["params"], np.asarray(layer.apply(params, made, NODES))[:N]


def test_convolution_equals_a_matrix_product_whatever_the_padding():
    made = graph(symmetric=True, self_loops=1.0)
    params, new = apply(GCN(3), made)
    weight = dense(made)
    degree = weight.sum(1)
    expected = weight / np.sqrt(degree[:, None] * degree) @ X @ params["Dense_0"]["kernel"]
    np.testing.assert_allclose(new, expected + params["bias"], rtol=1e-5, atol=1e-6)
    _, padded = apply(GCN(3), graph(symmetric=True, self_loops=1.0, n_edge=40))
    np.testing.assert_allclose(padded, new, rtol=1e-6)


def test_nodes_that_nothing_is_sent_to_get_the_bias():
    for layer in (GCN(3), GAT(3, 2)):
        params, new = apply(layer, graph())
        np.testing.assert_array_equal(new[6], np.ravel(params["bias"]))


@pytest.mark.parametrize("combine", ["concat", "mean"])
def test_attention_equals_a_softmax_over_rows_whatever_the_padding(combine):
    layer = GAT(3, 2, combine, each_head=jnp.tanh)
    made = graph(self_loops=1.0)
    params, new = apply(layer, made)
    heads = []
    for k in range(2):
        h = X @ params["kernel"][:, k]
        to, of = (h @ half for half in np.split(params["attend"][:, k, 0], 2))
        logit = to[:, None] + of
        logit = np.where(dense(made) > 0, np.where(logit > 0, logit, 0.2 * logit), -np.inf)
        weight = np.exp(logit - logit.max(1, keepdims=True))
        heads.append(np.tanh(weight / weight.sum(1, keepdims=True) @ h) + params["bias"][k])
    expected = np.concatenate(heads, 1) if combine == "concat" else sum(heads) / 2
    np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-6)
    _, padded = apply(layer, graph(self_loops=1.0, n_edge=40))
    np.testing.assert_allclose(padded, new, rtol=1e-6)


def test_attention_is_dropped_in_training_only():
    layer = GAT(3, dropout=0.5)
    made = graph(self_loops=1.0)
    params = layer.init(random.key(0), made, NODES)
    still = layer.apply(params, made, NODES)
    drawn = [
        layer.apply(params, made, NODES, False, rngs={"dropout": random.key(i)}) for i in (1, 2)
    ]
    assert not np.allclose(drawn[0], drawn[1]) and not np.allclose(drawn[0], still)
