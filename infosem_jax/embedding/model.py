"""Fit MuSe-GNN to the graphs of several studies."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, Float32

from infosem_jax.embedding import losses, network
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.losses import Pairs
from infosem_jax.embedding.network import Group, MuSeGNNConfig
from infosem_jax.engine import training
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.layout import choose, place
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.training import to_host
from infosem_jax.engine.types import Chunk, Fits, Progress, Rate, Resident, Schedule

DEFAULT = MuSeGNNConfig()
Vectors = tuple[Float32[np.ndarray, "_ dim"], ...]


class Pool(NamedTuple):
    """All that a fit learns from.

    Attributes
    ----------
    groups
        Studies in groups of one size.
    pairs
        What studies share; None of a single study.
    weights
        Of similarity and contrast; each fit has its own, so that no program depends on them.
    """

    groups: tuple[Group, ...]
    pairs: Pairs | None
    weights: Float[Array | np.ndarray, " 2"]


class Objective(NamedTuple):
    """The loss of all studies at once."""

    config: MuSeGNNConfig
    n_labels: int

    def view(self, shared: Pool, own: Any) -> Pool:
        """Return what all seeds share, with the weights of one."""
        return shared._replace(weights=own)

    def init(self, key: Array, data: Pool) -> training.Params:
        """Return starting parameters."""
        return network.init(key, data.groups, self.n_labels, self.config)

    def loss(self, params, key: Array, data: Pool, cells: None, epoch: Array) -> Array:
        """Return the loss of `losses`, summed over studies; see `engine.types.Objective.loss`."""
        return sum(terms(params, key, data, self.config).values(), jnp.float32(0.0))

    def group(self, name: str) -> str:
        """Part decoders from encoders, whose learning rate is another."""
        return "decoder" if name.startswith("decoder") else "encoder"


class Trained(NamedTuple):
    """What training gave.

    Attributes
    ----------
    vectors
        Embeddings of each study, [genes, dim], for every seed.
    losses
        Loss of every epoch, [seeds, epochs].
    """

    vectors: list[Vectors]
    losses: Float[np.ndarray, "seeds epochs"]


def train(
    graphs: Sequence[StudyGraph],
    config: MuSeGNNConfig = DEFAULT,
    *,
    seeds: Sequence[int] = (0,),
    on_chunk: Callable[[Progress], None] | None = None,
    saver: Saver | None = None,
) -> Trained:
    """Train MuSe-GNN, several seeds in one program.

    Every epoch is one step of Adam on the loss of all studies, each with another study that the
    seed draws. One study alone learns to reconstruct its graph; so do studies without common genes.

    Parameters
    ----------
    graphs
        One for each study.
    config
        Settings.
    seeds
        Seeds of the random numbers, a fit for each.
    on_chunk
        Called between chunks of epochs.
    saver
        Saves training, and goes on from what was saved.

    Raises
    ------
    ValueError
        If there is no study or no seed, or what was saved is of other graphs or settings.
    FloatingPointError
        If a fit diverged.
    Interrupted
        If the saver was told to stop; training has been saved.

    References
    ----------
    Liu et al., NeurIPS 2023 (arXiv 2310.02275).
    """
    if not graphs or not seeds:
        raise ValueError("Expected at least one study and one seed, found none.")
    grouped = network.group_studies(graphs, config)
    ordered = [graphs[i] for i in grouped.order]
    pairs = losses.pair_studies(ordered) if len(graphs) > 1 else None
    weights = np.array([config.similarity, config.contrast], np.float32)
    pool = Pool(grouped.groups, pairs, weights)
    # Without the settings that no program depends on, so that fits that differ in them share it.
    compiled = replace(
        config,
        epochs=1,
        encoder_rate=1.0,
        decoder_rate=1.0,
        similarity=1.0,
        contrast=1.0,
        attention="auto",
    )
    objective = Objective(compiled, grouped.n_labels)
    schedule = Schedule(
        optimisers=(("encoder", "adam"), ("decoder", "adam")),
        phases=((("encoder", "decoder"), 1),),
        batch_size=0,  # all data at each step
        steps=1,
        chunk=50,
    )
    layout = choose(len(seeds), 1)
    own = np.resize(np.asarray(seeds), len(seeds) + -len(seeds) % layout.devices[0])
    keys = jax.vmap(random.key)(own)
    rates = {"encoder": config.encoder_rate, "decoder": config.decoder_rate}
    fits = Fits(
        keys,
        {k: Rate(np.full(len(own), v, np.float32), np.ones(len(own), np.float32))
         for k, v in rates.items()},
        np.tile(weights, (len(own), 1)),
    )  # fmt: skip
    feed: Any = Resident(place(pool, layout))
    fits = place(fits, layout, fits=True)
    began, earlier, resume = time.perf_counter(), 0.0, None
    if saver is not None:
        example = training.init.eval_shape(objective, schedule, layout, fits, feed.shared)
        saved = saver.open(0, example, partial(_identity, graphs, config, seeds))
        if saved is not None:
            (state, found), earlier = saved
            resume = place(state, layout, fits=True), found

    def report(chunk: Chunk) -> None:
        if on_chunk is not None:
            loss = float(chunk.losses.train[:, -1].mean())
            text = f"loss {loss:.4f}"
            on_chunk(Progress(chunk.done, chunk.segments, "epochs", text, chunk.losses))
        if saver is not None:
            seconds = earlier + time.perf_counter() - began
            last = chunk.done == chunk.segments
            saver.update((chunk.state, chunk.losses), seconds, chunk.done, last=last)

    with nullcontext() if saver is None else saver.listening():
        state, found = training.run(
            objective,
            schedule,
            fits,
            feed,
            epochs=config.epochs,
            layout=layout,
            on_chunk=report,
            resume=resume,
        )
    diverged = to_host(state.diverged)[: len(seeds)]
    if (diverged >= 0).any():
        raise FloatingPointError(
            f"MuSe-GNN diverged in epoch {diverged.max()}; lower encoder_rate and decoder_rate."
        )
    vectors = []
    encoders = {k: v for k, v in state.params.items() if not k.startswith("decoder")}
    for i in range(len(seeds)):
        own_params = jax.tree.map(lambda leaf, i=i: to_host(leaf)[i], encoders)
        vectors.append(_in_order(_embed(own_params, pool.groups, compiled), grouped.order))
    return Trained(vectors, to_host(found.train)[: len(seeds)])


def terms(
    params: training.Params, key: Array, pool: Pool, config: MuSeGNNConfig
) -> dict[str, Float[Array, ""]]:
    """Return the parts of the loss, weighted: reconstruction, similarity, contrast.

    Parameters
    ----------
    params
        Of `network.init`.
    key
        Draws the partner of each study, and genes.
    pool
        The studies.
    config
        Settings.
    """
    z = network.encode(params, pool.groups, config)
    found = jnp.float32(0.0)
    for i, (group, own) in enumerate(zip(pool.groups, z, strict=True)):
        found += jax.vmap(_reconstruct)(params[f"decoder_{i}"], own, group.adjacency).sum()
    parts = {"reconstruction": found}
    if pool.pairs is not None:
        most = pool.pairs.private.shape[2]
        padded = jnp.concatenate([jnp.pad(own, ((0, 0), (0, most - own.shape[1]), (0, 0)))
                                  for own in z])  # fmt: skip
        every = jnp.arange(len(padded))
        keys = jax.vmap(random.fold_in, (None, 0))(key, every)
        joined = partial(losses.join, samples=config.pairs, temperature=config.temperature)
        alike, apart = jax.vmap(joined, (0, None, None, 0))(keys, padded, pool.pairs, every)
        parts |= {
            "similarity": pool.weights[0] * alike.sum(),
            "contrast": pool.weights[1] * apart.sum(),
        }
    return parts


def embed(graphs: Sequence[StudyGraph], seed: int, config: MuSeGNNConfig = DEFAULT) -> Vectors:
    """Embed the genes of every study by MuSe-GNN.

    Parameters
    ----------
    graphs
        One for each study.
    seed
        Seeds the random numbers.
    config
        Settings.
    """
    return train(graphs, config, seeds=(seed,)).vectors[0]


def _identity(
    graphs: Sequence[StudyGraph], config: MuSeGNNConfig, seeds: Sequence[int]
) -> dict[str, Any]:
    """Return all that training depends on, to compare what was saved with what is to go on."""
    return {"settings": asdict(config), "seeds": list(seeds), "graphs": fingerprint(list(graphs))}


def _reconstruct(params: Any, z: Array, adjacency: Any) -> Array:
    return losses.reconstruction(network.decode(params, z), adjacency)


@partial(jax.jit, static_argnames="config")
def _embed(params: Any, groups: tuple[Group, ...], config: MuSeGNNConfig) -> list[Array]:
    return network.encode(params, groups, config)


def _in_order(found: Sequence[Array], order: Sequence[int]) -> Vectors:
    rows = [np.asarray(own) for each in found for own in each]
    return tuple(rows[order.index(i)] for i in range(len(order)))
