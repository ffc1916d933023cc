"""Models that are kept: fitted to a screen, saved without pickle, and used on new perturbations.

Of networks the parameters are kept, and with them, as of all other methods, the responses that
were learned from and the knowledge: anyone who has such a model has the data.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import random
from jaxtyping import Float32
from scipy import sparse

from infosem_jax._typing import Path
from infosem_jax.engine.types import Losses, Progress
from infosem_jax.outputs import arrays as named_arrays
from infosem_jax.perturbation import model as networks
from infosem_jax.perturbation.config import Config
from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.knowledge import Knowledge
from infosem_jax.perturbation.methods import METHODS, NETWORKS, configured
from infosem_jax.perturbation.network import Network
from infosem_jax.perturbation.prepare import Inputs, alike_of, near_of, query_of, world_of
from infosem_jax.perturbation.task import Prediction, Task

FORMAT = "infosem_jax perturbation model 2"


class Model(NamedTuple):
    """A method with all that it needs to predict.

    Attributes
    ----------
    method, settings
        Name of the method, and its settings.
    train, knowledge
        What it learned from, and graphs and texts.
    members
        One fit for each seed; none of methods that are not networks.
    """

    method: str
    settings: dict[str, Any]
    train: Responses
    knowledge: Knowledge
    members: tuple[networks.Fitted, ...]


def fit_model(
    task: Task,
    method: str,
    *,
    settings: Mapping[str, Any] | None = None,
    seeds: int = 1,
    first_seed: int = 0,
    on_chunk: Callable[[Progress], None] | None = None,
) -> Model:
    """Fit a method to the training perturbations of a task, to be kept.

    Parameters
    ----------
    task
        The task; its test perturbations are not looked at.
    method
        One of `methods.METHODS`.
    settings
        Settings of the method that differ from the usual ones.
    seeds, first_seed
        How many fits are averaged, and the first seed.
    on_chunk
        Told of progress, in fits.

    Raises
    ------
    ValueError
        On unknown methods or settings.
    FloatingPointError
        If a network diverged.
    """
    _, config = configured(method, settings)
    members = []
    if config is not None:
        for i in range(seeds):
            tell = on_chunk and (lambda progress, i=i: on_chunk(progress.of_fit(i, seeds)))
            members += networks.fit([task], config, seed=first_seed + i, on_chunk=tell)
    return Model(
        method,
        {} if config is None else asdict(config),
        task.train,
        task.knowledge,
        tuple(members),
    )


def predict(
    model: Model,
    perturbed: Sequence[tuple[str, ...]],
    line: Sequence[str],
    control: Float32[np.ndarray, "n genes"] | None = None,
) -> Prediction:
    """Predict responses, averaged over seeds; variances add to those between seeds."""
    if not model.members:
        task = Task(
            model.train, np.zeros(0, int), tuple(perturbed), tuple(line), control, model.knowledge
        )
        return METHODS[model.method].predict([task], 0)[0]
    found = [networks.predict(each, perturbed, line, control) for each in model.members]
    change, de, up = (
        np.mean([getattr(each, name) for each in found], axis=0) for name in ("change", "de", "up")
    )
    spread = np.var([each.change for each in found], axis=0)
    own = np.mean([np.square(each.sd) for each in found if each.sd is not None], axis=0)
    sd = np.sqrt(spread + own).astype(np.float32)
    return Prediction(change, de, up, sd, found[0].informed)


def usual_control(train: Responses, line: Sequence[str]) -> np.ndarray | None:
    """Return the mean control of each line in training; None of tables of signs.

    Raises
    ------
    ValueError
        If a line was not among the training ones.
    """
    if train.control is None:
        return None
    rows = []
    for name in line:
        own = [i for i, other in enumerate(train.line) if other == name]
        if not own:
            raise ValueError(
                f"Expected one of the cell lines {', '.join(sorted(set(train.line)))}, found "
                f"{name!r}; give its control means."
            )
        rows.append(train.control[own].mean(0))
    return np.stack(rows).astype(np.float32)


def save_model(path: Path, model: Model) -> None:
    """Write a model to one file, an npz without pickle and with a checksum, whole or not at all.

    Raises
    ------
    OSError
        If writing fails.
    """
    train, knowledge = model.train, model.knowledge
    arrays: dict[str, Any] = {"sign": train.sign, "known": train.known, "text": knowledge.text}
    arrays |= {name: getattr(train, name) for name in _OPTIONAL if getattr(train, name) is not None}
    for i, graph in enumerate(knowledge.graphs.values()):
        coo = graph.tocoo()
        arrays |= {f"graph{i}/row": coo.row, f"graph{i}/col": coo.col, f"graph{i}/data": coo.data}
    records = []
    for i, member in enumerate(model.members):
        leaves = jax.tree_util.tree_leaves_with_path(member.params)
        arrays |= {f"fit{i}/params{jax.tree_util.keystr(at)}": leaf for at, leaf in leaves}
        arrays |= {f"fit{i}/rows": member.rows}
        arrays |= {f"fit{i}/{name}": loss for name, loss in member.losses._asdict().items()}
        arrays |= {f"fit{i}/location": member.inputs.location, f"fit{i}/added": member.added}
        records.append(
            {
                "lines": member.inputs.lines,
                "input_scale": member.inputs.scale,
                "scale": member.scale,
                "calibration": member.calibration,
            }
        )
    record = {
        "method": model.method,
        "settings": model.settings,
        "name": train.name,
        "perturbed": train.perturbed,
        "line": train.line,
        "genes": train.genes,
        "nodes": knowledge.nodes,
        "graphs": list(knowledge.graphs),
        "fits": records,
    }
    named_arrays.save_arrays(path, FORMAT, arrays, record)


def load_model(path: Path) -> Model:
    """Read what `save_model` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, was changed, or is something else.
    """
    record, arrays = named_arrays.load_arrays(path, FORMAT, "infosem perturbation fit")
    train = Responses(
        record["name"],
        tuple(map(tuple, record["perturbed"])),
        tuple(record["line"]),
        tuple(record["genes"]),
        arrays["sign"],
        arrays["known"],
    )
    train = train._replace(**{name: arrays[name] for name in _OPTIONAL if name in arrays})
    n = len(record["nodes"])
    graphs = {
        name: sparse.csr_array(
            (arrays[f"graph{i}/data"], (arrays[f"graph{i}/row"], arrays[f"graph{i}/col"])), (n, n)
        )
        for i, name in enumerate(record["graphs"])
    }
    knowledge = Knowledge(tuple(record["nodes"]), graphs, arrays["text"])
    config = None
    if record["method"] in NETWORKS:
        _, config = configured(record["method"], record["settings"])
    members = [
        _unpack(each, i, arrays, train, knowledge, config)
        for i, each in enumerate(record["fits"])
        if config is not None
    ]
    return Model(record["method"], record["settings"], train, knowledge, tuple(members))


def _unpack(
    record: dict[str, Any],
    i: int,
    arrays: dict[str, np.ndarray],
    train: Responses,
    knowledge: Knowledge,
    config: Config,
) -> networks.Fitted:
    inputs = Inputs(tuple(record["lines"]), arrays[f"fit{i}/location"], record["input_scale"])
    # Only the structure is asked for: sizes come with the arrays.
    world = world_of(knowledge, train.genes, config)._replace(alike=alike_of(train, config))
    control = None if train.control is None else train.control[:1]
    few = query_of(knowledge, train.perturbed[:1], train.line[:1], control, inputs, config)
    form = jax.eval_shape(Network(config, len(train.genes)).init, random.key(0), world, few)
    leaves, tree = jax.tree_util.tree_flatten_with_path(form["params"])
    params = [arrays[f"fit{i}/params{jax.tree_util.keystr(at)}"] for at, _ in leaves]
    return networks.Fitted(
        config,
        train,
        knowledge,
        world,
        inputs,
        near_of(knowledge, train, config),
        record["scale"],
        jax.tree.unflatten(tree, params),
        arrays[f"fit{i}/rows"],
        record["calibration"],
        Losses(arrays[f"fit{i}/train"], arrays[f"fit{i}/held_out"]),
        arrays[f"fit{i}/added"],
    )


# Of responses: arrays that tables of signs lack. Tests of cells are not needed to predict.
_OPTIONAL = ("control", "delta", "n_cells")
