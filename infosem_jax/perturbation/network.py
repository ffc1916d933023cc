"""The network: from control, context and perturbation to changes, or signs, of genes.

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
from infosem_jax.perturbation.config import AdaPertConfig
from infosem_jax.perturbation.selector import Selection, pool, select, threshold_of

_MOST_HOPS = 16


class NodeInputs(NamedTuple):
    """Knowledge of genes as arrays.

    Attributes
    ----------
    graph
        Edges among nodes; the last node is padding.
    text
        Vectors of the nodes, zero without a text, [nodes, features].
    genes
        Node of each responding gene, the padding node where it has none.
    coexpressed
        Genes with correlated responses in training, of a ``genewise`` decoder, [genes, k]; else k
        is 0.
    """

    graph: GraphsTuple
    text: Float[Any, "nodes features"]
    genes: Int[Any, " genes"]
    coexpressed: Int[Any, "genes k"]


class PerturbationInputs(NamedTuple):
    """Perturbations as arrays.

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
    """What the network returns.

    Attributes
    ----------
    response
        Of values, change and log of its deviation; of signs, log-odds of being differentially
        expressed, and of going up if it is. Relative to the mean response, [2, batch, genes].
    aligned
        The context, mapped to the components of responses, [batch, components].
    selection
        Which nodes made the context.
    """

    response: Float[Array, "2 batch genes"]
    aligned: Float[Array, "batch components"]
    selection: Selection


class Network(nn.Module):
    """The network of `AdaPertConfig`; ``genes`` respond.

    The names of its parameters are part of how they are drawn: renaming one changes its start.
    """

    config: AdaPertConfig
    genes: int

    @nn.compact
    def __call__(
        self, nodes: NodeInputs, perturbations: PerturbationInputs, deterministic: bool = True
    ) -> Output:
        """Predict responses.

        Parameters
        ----------
        nodes, perturbations
            Knowledge and perturbations.
        deterministic
            Whether dropout and the noise of the selection are off, as after training.
        """
        config = self.config
        h = self._encode(nodes, deterministic)
        text = nn.Dropout(config.dropout, deterministic=deterministic)(perturbations.text)
        embedded = nn.Dense(config.features, name="perturbation")(text * config.text)
        context, selection = self._context(h, embedded, perturbations, deterministic)
        control = nn.Dense(config.latent, name="control")(perturbations.control)
        u = self._join(nn.leaky_relu(control), context, embedded)
        for i, size in enumerate((config.hidden, config.features)):
            u = nn.LayerNorm(name=f"norm{i}")(nn.Dense(size, name=f"decoder{i}")(u))
            u = nn.Dropout(config.dropout, deterministic=deterministic)(nn.leaky_relu(u))
        decode = self._genewise if config.decoder == "genewise" else self._joint
        response = decode(h, nodes, u)
        aligned = nn.Dense(config.components, name="aligned")(context)
        return Output(response, aligned, selection)

    def _joint(self, h: Array, nodes: NodeInputs, u: Array) -> Float[Array, "2 batch genes"]:
        config, outputs = self.config, []
        for name in ("first", "second"):
            y = nn.Dense(self.genes, name=name, kernel_init=normal(1e-2))(u)
            if config.tied:
                side = nn.Dense(config.features, name=f"{name}_tied", kernel_init=normal(1e-2))(u)
                y = y + side @ h[nodes.genes].T
            outputs.append(y)
        return jnp.stack(outputs)

    def _genewise(self, h: Array, nodes: NodeInputs, u: Array) -> Float[Array, "2 batch genes"]:
        config = self.config
        own = self.param("gene", normal(0.1), (self.genes, config.features))
        similar = own[nodes.coexpressed].mean(1) if nodes.coexpressed.shape[1] else 0 * own
        gene = nn.Dense(config.features, name="gene_mix")(own + similar)
        both = gene[None] + nn.Dense(config.features, name="shift_gene")(u)[:, None]
        z = nn.leaky_relu(nn.Dense(config.features, name="gene_hidden")(nn.leaky_relu(both)))
        weight = self.param("gene_weight", normal(1e-2), (self.genes, config.features, 2))
        offset = self.param("gene_offset", zeros, (self.genes, 2))
        return jnp.moveaxis(jnp.einsum("bgf,gfo->bgo", z, weight) + offset, 2, 0)

    def _encode(self, nodes: NodeInputs, deterministic: bool) -> Float[Array, "nodes features"]:
        config = self.config
        n = len(nodes.text)
        own = self.param("node", normal(0.1), (n, config.features))
        x = own + nn.Dense(config.features, use_bias=False, name="text")(nodes.text * config.text)
        if config.context == "none":
            return x
        parts = [x]
        for i in range(config.layers):
            layer = GATv2(
                config.features // config.heads, config.heads, config.dropout, name=f"gat{i}"
            )
            x = nn.leaky_relu(layer(nodes.graph, x, deterministic))
            parts.append(x)
        return nn.Dense(config.features, name="nodes")(jnp.concatenate(parts, 1))

    def _context(
        self,
        h: Float[Array, "nodes features"],
        embedded: Array,
        perturbations: PerturbationInputs,
        deterministic: bool,
    ) -> tuple[Float[Array, "batch features"], Selection]:
        config = self.config
        no_logit = jnp.zeros(perturbations.hop.shape, h.dtype)
        if config.context in ("none", "full"):
            mean = h.mean(0) if config.context == "full" else jnp.zeros_like(h[0])
            context = jnp.broadcast_to(mean, (len(perturbations.hop), config.features))
            return context, Selection(no_logit, no_logit)
        key = None if deterministic else self.make_rng("select")
        if config.context == "adaptive":
            of_node = nn.Dense(config.features // 2, name="select_node")(h)
            project = nn.Dense(config.features // 2, name="select_said", use_bias=False)
            hidden = nn.leaky_relu(of_node[perturbations.node] + project(embedded)[:, None])
            start = nn.initializers.constant(float(np.log(config.start / (1 - config.start))))
            logit = nn.Dense(1, name="select", bias_init=start)(hidden)[:, :, 0]
            by_hop = self.param("away", zeros, (_MOST_HOPS,))
            logit = logit + by_hop[jnp.minimum(perturbations.hop, _MOST_HOPS - 1)]
        else:
            logit = no_logit
        # Kept from 0, where the threshold could not be learned.
        start = float(np.log(max(config.cut, 1e-3) / (1 - config.cut)))
        raw = self.param("threshold", nn.initializers.constant(start), ())
        selection = select(logit, perturbations.hop, threshold_of(raw, config), config, key)
        context = pool(h, perturbations.node, selection.weight, config)
        if config.pooling == "sum":
            context = nn.LayerNorm(name="context")(context)
        return context, selection

    def _join(self, control: Array, context: Array, embedded: Array) -> Array:
        if self.config.combine == "add":
            return control + nn.Dense(self.config.latent, name="shift")(context)
        return jnp.concatenate([control, context, embedded], 1)
