"""The network: control, context and perturbation in; changes, or signs, of genes out.

Nodes start as a learned vector plus a projection of their text; graph attention passes messages;
input and output of every layer are put side by side (AdaPert, Piao et al. 2026). The graph is
encoded once for all perturbations of a batch; each then pools the nodes of its context.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import normal, zeros
from jaxtyping import Array, Float, Int

from infosem_jax.graphs import GraphsTuple
from infosem_jax.nn import GATv2
from infosem_jax.perturbation.config import Config
from infosem_jax.perturbation.selector import Selection, pool, select, threshold_of

_MOST_HOPS = 16


class World(NamedTuple):
    """What is known of genes, as the network takes it.

    Attributes
    ----------
    graph
        Edges among nodes; the last node is padding.
    text
        Vectors of the nodes, zero without a text, [nodes, features].
    genes
        Node of each responding gene, the padding node where it has none.
    alike
        Genes that respond alike in training, of a ``genewise`` decoder, [genes, k]; else k is 0.
    """

    graph: GraphsTuple
    text: Float[Any, "nodes features"]
    genes: Int[Any, " genes"]
    alike: Int[Any, "genes k"]


class Query(NamedTuple):
    """Perturbations, as the network takes them.

    Attributes
    ----------
    node, hop
        Candidates for the context and how far they are, [batch, candidates].
    text
        Text of the perturbed genes, [batch, features].
    control
        Control expression, or the cell line one-hot, [batch, inputs].
    """

    node: Int[Any, "batch candidates"]
    hop: Int[Any, "batch candidates"]
    text: Float[Any, "batch features"]
    control: Float[Any, "batch inputs"]


class Output(NamedTuple):
    """What the network says.

    Attributes
    ----------
    first, second
        Change and log of its deviation; or log-odds of being differentially expressed, and of
        going up, both to be added to a base, [batch, genes].
    aligned
        The context, mapped to the components of responses, [batch, components].
    selection
        Which nodes made the context.
    """

    first: Float[Array, "batch genes"]
    second: Float[Array, "batch genes"]
    aligned: Float[Array, "batch components"]
    selection: Selection


class Network(nn.Module):
    """The network of `Config`; ``genes`` respond."""

    config: Config
    genes: int

    @nn.compact
    def __call__(self, world: World, query: Query, still: bool = True) -> Output:
        """Return what the network says; ``still`` turns off noise and dropout."""
        config = self.config
        h = self._encode(world, still)
        said = nn.Dropout(config.dropout, deterministic=still)(query.text)
        said = nn.Dense(config.features, name="perturbation")(said * config.text)
        context, selection = self._context(h, said, query, still)
        control = nn.Dense(config.latent, name="control")(query.control)
        u = self._join(nn.leaky_relu(control), context, said)
        for i, size in enumerate((config.hidden, config.features)):
            u = nn.LayerNorm(name=f"norm{i}")(nn.Dense(size, name=f"decoder{i}")(u))
            u = nn.Dropout(config.dropout, deterministic=still)(nn.leaky_relu(u))
        if config.decoder == "genewise":
            first, second = self._genewise(h, world, u)
        else:
            first, second = self._joint(h, world, u)
        aligned = nn.Dense(config.components, name="aligned")(context)
        return Output(first, second, aligned, selection)

    def _joint(self, h: Array, world: World, u: Array) -> tuple[Array, Array]:
        config, outputs = self.config, []
        for name in ("first", "second"):
            y = nn.Dense(self.genes, name=name, kernel_init=normal(1e-2))(u)
            if config.tied:
                side = nn.Dense(config.features, name=f"{name}_tied", kernel_init=normal(1e-2))(u)
                y = y + side @ h[world.genes].T
            outputs.append(y)
        return outputs[0], outputs[1]

    def _genewise(self, h: Array, world: World, u: Array) -> tuple[Array, Array]:
        config = self.config
        own = self.param("gene", normal(0.1), (self.genes, config.features))
        near = own[world.alike].mean(1) if world.alike.shape[1] else jnp.zeros_like(own)
        gene = nn.Dense(config.features, name="gene_mix")(own + near)
        both = gene[None] + nn.Dense(config.features, name="shift_gene")(u)[:, None]
        z = nn.leaky_relu(nn.Dense(config.features, name="gene_hidden")(nn.leaky_relu(both)))
        weight = self.param("gene_weight", normal(1e-2), (self.genes, config.features, 2))
        offset = self.param("gene_offset", zeros, (self.genes, 2))
        y = jnp.einsum("bgf,gfo->bgo", z, weight) + offset
        return y[:, :, 0], y[:, :, 1]

    def _encode(self, world: World, still: bool) -> Float[Array, "nodes features"]:
        config = self.config
        n = len(world.text)
        own = self.param("node", normal(0.1), (n, config.features))
        x = own + nn.Dense(config.features, use_bias=False, name="text")(world.text * config.text)
        if config.context == "none":
            return x
        parts = [x]
        for i in range(config.layers):
            layer = GATv2(
                config.features // config.heads, config.heads, config.dropout, name=f"gat{i}"
            )
            x = nn.leaky_relu(layer(world.graph, x, still))
            parts.append(x)
        return nn.Dense(config.features, name="nodes")(jnp.concatenate(parts, 1))

    def _context(
        self, h: Float[Array, "nodes features"], said: Array, query: Query, still: bool
    ) -> tuple[Float[Array, "batch features"], Selection]:
        config = self.config
        nothing = jnp.zeros(query.hop.shape, h.dtype)
        if config.context in ("none", "full"):
            mean = h.mean(0) if config.context == "full" else jnp.zeros_like(h[0])
            context = jnp.broadcast_to(mean, (len(query.hop), config.features))
            return context, Selection(nothing, nothing)
        key = None if still else self.make_rng("select")
        if config.context == "adaptive":
            of_node = nn.Dense(config.features // 2, name="select_node")(h)
            of_said = nn.Dense(config.features // 2, name="select_said", use_bias=False)(said)
            hidden = nn.leaky_relu(of_node[query.node] + of_said[:, None])
            start = nn.initializers.constant(float(np.log(config.start / (1 - config.start))))
            logit = nn.Dense(1, name="select", bias_init=start)(hidden)[:, :, 0]
            away = self.param("away", zeros, (_MOST_HOPS,))
            logit = logit + away[jnp.minimum(query.hop, _MOST_HOPS - 1)]
        else:
            logit = nothing
        # Kept from 0, where the threshold could not be learned.
        start = float(np.log(max(config.cut, 1e-3) / (1 - config.cut)))
        raw = self.param("threshold", nn.initializers.constant(start), ())
        selection = select(logit, query.hop, threshold_of(raw, config), config, key)
        context = pool(h, query.node, selection.weight, config)
        if config.pooling == "sum":
            context = nn.LayerNorm(name="context")(context)
        return context, selection

    def _join(self, control: Array, context: Array, said: Array) -> Array:
        if self.config.combine == "add":
            return control + nn.Dense(self.config.latent, name="shift")(context)
        return jnp.concatenate([control, context, said], 1)
