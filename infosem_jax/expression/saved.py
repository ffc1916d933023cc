"""Models that are kept: fitted to a problem, saved without pickle, and used on new samples.

What is kept depends on the method. Of the graph network it is its parameters. Of the mean, least
squares and ridge, which are affine in their inputs, it is slopes and offsets, found by probing. Of
the others it is the training samples, from which the method learns again with each prediction:
anyone who has such a model has the data.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import random
from jaxtyping import Float, Float32

from infosem_jax import graphs
from infosem_jax._typing import Path
from infosem_jax.engine.types import Losses
from infosem_jax.expression import model as graph_model
from infosem_jax.expression import network
from infosem_jax.expression.graph import GeneGraph
from infosem_jax.expression.methods import AFFINE, GRAPHS, METHODS, configured
from infosem_jax.expression.profiles import Profiles, align_genes
from infosem_jax.expression.task import Prediction, Problem, Scaling, Task, scale, unscale
from infosem_jax.expression.units import Units, check_units, describe_units
from infosem_jax.outputs import arrays as named_arrays

FORMAT = "infosem_jax expression model 1"


class Affine(NamedTuple):
    """A method that is affine: ``[x, covariates] @ slope + offset``; scaled units.

    Attributes
    ----------
    slope
        Of inputs and, after them, covariates, [inputs + c, targets].
    offset, sd
        Offset and standard deviation of each target, [targets].
    """

    slope: Float32[np.ndarray, "features targets"]
    offset: Float32[np.ndarray, " targets"]
    sd: Float32[np.ndarray, " targets"]


class Examples(NamedTuple):
    """A method that learns again with each prediction, from these samples, and its seed."""

    task: Task
    seed: int


class Model(NamedTuple):
    """A fitted method with all that it needs to be used on new samples.

    Attributes
    ----------
    method, settings
        Name of the method, and its settings.
    inputs, targets
        Names of genes.
    x_scaling, y_scaling
        Of inputs and targets.
    units
        What the training inputs look like.
    fill
        Mean of each input in training, in units of the data, [inputs].
    levels
        Covariates as ``label=value``, in the order of their columns.
    platforms
        Names of the data of inputs and of targets; alike where these are one platform.
    members
        One fit for each seed.
    """

    method: str
    settings: dict[str, Any]
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    x_scaling: Scaling
    y_scaling: Scaling
    units: Units
    fill: Float32[np.ndarray, " inputs"]
    levels: tuple[str, ...]
    platforms: tuple[str, str]
    members: tuple[Affine | Examples | graph_model.Fitted, ...]


def fit_model(
    problem: Problem,
    method: str,
    platforms: tuple[str, str],
    *,
    settings: Mapping[str, Any] | None = None,
    seeds: int = 1,
    first_seed: int = 0,
    on_seed: Callable[[int, str], None] = lambda done, text: None,
) -> Model:
    """Fit a method to the training and validation samples of a problem, to be kept.

    Parameters
    ----------
    problem
        The problem; its test samples are not looked at.
    method
        One of `methods.METHODS`.
    platforms
        Names of the data of inputs and targets.
    settings
        Settings of the method that differ from the usual ones.
    seeds, first_seed
        How many fits are averaged, and the first seed. Methods without random numbers need one.
    on_seed
        Called with the number of fits that are done and what is being done.

    Raises
    ------
    ValueError
        On unknown methods or settings.
    FloatingPointError
        If a network diverged.
    """
    _, config = configured(method, settings)
    task = problem.task
    members = []
    for seed in range(first_seed, first_seed + (seeds if METHODS[method].random else 1)):
        on_seed(len(members), f"{method}, seed {seed}")
        if method in GRAPHS:
            members.append(graph_model.fit(task, config, seed=seed))
        elif method in AFFINE:
            members.append(_probe(task, method))
        else:
            members.append(Examples(task._replace(x_test=task.x_test[:0]), seed))
    fill = task.x_train.mean(0, dtype=np.float64) * problem.x_scaling.scale
    return Model(
        method,
        {} if config is None else asdict(config),
        task.inputs,
        task.targets,
        problem.x_scaling,
        problem.y_scaling,
        problem.units,
        (fill + problem.x_scaling.location).astype(np.float32),
        problem.levels,
        platforms,
        tuple(members),
    )


def predict(
    model: Model,
    x: Float32[np.ndarray, "samples inputs"],
    covariate: Float32[np.ndarray, "samples c"],
) -> Prediction:
    """Infer the targets of new samples, in units of the data.

    The mean is that over seeds, and the variance the mean of theirs plus that between them.

    Parameters
    ----------
    model
        A fitted model.
    x
        Inputs in units of the data.
    covariate
        One-hot covariates in the order of ``levels``.
    """
    scaled = scale(x, model.x_scaling)
    found = [_predict_member(model, member, scaled, covariate) for member in model.members]
    means = np.stack([each.mean for each in found])
    sds = [each.sd for each in found if each.sd is not None]
    sd = None
    if len(sds) == len(found):
        sd = np.sqrt(np.mean(np.square(sds), axis=0) + means.var(0)).astype(np.float32)
    return unscale(Prediction(means.mean(0), sd), model.y_scaling)


class Ready(NamedTuple):
    """New samples as a model needs them, and the inputs that were imputed."""

    x: Float32[np.ndarray, "samples inputs"]
    covariate: Float32[np.ndarray, "samples c"]
    imputed: tuple[str, ...]


def prepare(model: Model, profiles: Profiles, *, impute: bool = False) -> Ready:
    """Bring new samples into the form that a model needs.

    Parameters
    ----------
    model
        The model.
    profiles
        New samples, in the units of the training data.
    impute
        Whether inputs that are missing stand at their training means.

    Raises
    ------
    ValueError
        If inputs or covariates are missing, or the units do not match those of the training.
    """
    how = "impute" if impute else "refuse"
    x, imputed = align_genes(profiles, model.inputs, missing=how, fill=model.fill)
    measured = ~np.isin(np.asarray(model.inputs), imputed)
    check_units(describe_units(x[:, measured]), model.units, f"the inputs of {profiles.name}")
    columns = []
    for level in model.levels:
        name, _, value = level.partition("=")
        if name not in profiles.labels:
            raise ValueError(
                f"{profiles.name}: the model was fitted with the label {name!r} of samples, found "
                f"{', '.join(profiles.labels) or 'no labels'}; add it, in obs of an h5ad file."
            )
        columns.append(profiles.labels[name].astype(str) == value)
    covariate = np.array(columns, np.float32).T.reshape(len(x), len(columns))
    return Ready(x, covariate, imputed)


def save_model(path: Path, model: Model) -> None:
    """Write a model to one file, an npz without pickle and with a checksum, whole or not at all.

    Raises
    ------
    OSError
        If writing fails.
    """
    packed = [_pack(member) for member in model.members]
    arrays = {
        "x_location": model.x_scaling.location,
        "x_scale": model.x_scaling.scale,
        "y_location": model.y_scaling.location,
        "y_scale": model.y_scaling.scale,
        "fill": model.fill,
        **{f"{i}/{key}": value for i, own in enumerate(packed) for key, value in own.items()},
    }
    record = {
        "method": model.method,
        "settings": model.settings,
        "inputs": model.inputs,
        "targets": model.targets,
        "x_how": model.x_scaling.how,
        "y_how": model.y_scaling.how,
        "units": model.units,
        "levels": model.levels,
        "platforms": model.platforms,
        "members": len(packed),
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
    record, arrays = named_arrays.load_arrays(path, FORMAT, "infosem expression fit")
    names = {name: tuple(record[name]) for name in ("inputs", "targets", "levels", "platforms")}
    _, config = configured(record["method"], record["settings"])
    members = []
    for i in range(record["members"]):
        own = {
            key.partition("/")[2]: value for key, value in arrays.items() if key.startswith(f"{i}/")
        }
        members.append(_unpack(record["method"], config, names["inputs"], names["targets"], own))
    return Model(
        method=record["method"],
        settings=record["settings"],
        x_scaling=Scaling(record["x_how"], arrays["x_location"], arrays["x_scale"]),
        y_scaling=Scaling(record["y_how"], arrays["y_location"], arrays["y_scale"]),
        units=Units(*record["units"]),
        fill=arrays["fill"],
        members=tuple(members),
        **names,
    )


def _probe(task: Task, method: str) -> Affine:
    """Ask an affine method for its value at 0 and at each unit vector."""
    n, c = len(task.inputs), task.covariate_train.shape[1]
    points = np.eye(n + c + 1, n + c, -1, np.float32)
    asked = task._replace(x_test=points[:, :n], covariate_test=points[:, n:])
    found = METHODS[method].predict(asked, 0)
    sd = np.zeros(len(task.targets), np.float32) if found.sd is None else found.sd[0]
    return Affine(
        (found.mean[1:] - found.mean[0]).astype(np.float32),
        found.mean[0].astype(np.float32),
        sd.astype(np.float32),
    )


def _predict_member(
    model: Model,
    member: Any,
    x: Float[np.ndarray, "samples inputs"],
    covariate: Float[np.ndarray, "samples c"],
) -> Prediction:
    if isinstance(member, Affine):
        mean = np.concatenate([x, covariate], 1) @ member.slope + member.offset
        return Prediction(mean, np.tile(member.sd, (len(x), 1)))
    if isinstance(member, Examples):
        method, _ = configured(model.method, model.settings)
        task = member.task._replace(x_test=x, covariate_test=covariate)
        return method.predict(task, member.seed)
    return graph_model.predict(member, x, covariate)


def _pack(member: Any) -> dict[str, Any]:
    """Lay a fit out as arrays by name."""
    if isinstance(member, Affine):
        return member._asdict()
    if isinstance(member, Examples):
        own = member.task._asdict()
        return {key: own[key] for key in _SAMPLES} | {"seed": np.int64(member.seed)}
    graph, line = member.graph, member.line
    arrays = {
        "graph_inputs": np.int64(graph.n_inputs),
        "graph_nodes": np.int64(graph.n_nodes),
        "graph_targets": graph.targets,
        "graph_senders": np.asarray(graph.sparse.senders),
        "graph_receivers": np.asarray(graph.sparse.receivers),
    }
    arrays |= {name: getattr(member, name) for name in _PLAIN} | member.losses._asdict()
    if line is not None:
        arrays |= {"line_slope": line.slope, "line_offset": line.offset}
    leaves = jax.tree_util.tree_leaves_with_path(member.params)
    return arrays | {f"params{jax.tree_util.keystr(at)}": leaf for at, leaf in leaves}


def _unpack(
    method: str,
    config: Any,
    inputs: tuple[str, ...],
    targets: tuple[str, ...],
    arrays: dict[str, np.ndarray],
) -> Affine | Examples | graph_model.Fitted:
    if method in AFFINE:
        return Affine(**arrays)
    if method not in GRAPHS:
        seed = int(arrays.pop("seed"))
        nothing = {
            "x_test": arrays["x_train"][:0],
            "covariate_test": arrays["covariate_train"][:0],
        }
        return Examples(Task(inputs, targets, **arrays, **nothing), seed)
    sparse = graphs.from_pairs(
        int(arrays["graph_nodes"]), arrays["graph_senders"], arrays["graph_receivers"]
    )
    graph = GeneGraph(int(arrays["graph_inputs"]), arrays["graph_targets"], sparse)
    # Only the structure is asked for: sizes come with the arrays.
    features = int("params['feature']" in arrays)
    start = jax.eval_shape(
        partial(network.init, config=config, shape=network.shape_of(graph, features)),
        random.key(0),
    )
    leaves, form = jax.tree_util.tree_flatten_with_path(start)
    params = [arrays[f"params{jax.tree_util.keystr(at)}"] for at, _ in leaves]
    line = None
    if "line_slope" in arrays:
        line = graph_model.Line(arrays["line_slope"], arrays["line_offset"])
    plain: dict[str, Any] = {
        name: arrays[name] if arrays[name].ndim else arrays[name].item() for name in _PLAIN
    }
    return graph_model.Fitted(
        inputs=inputs,
        targets=targets,
        config=config,
        graph=graph,
        params=jax.tree.unflatten(form, params),
        line=line,
        losses=Losses(arrays["train"], arrays["held_out"]),
        **plain,
    )


# Fields of a fitted network that are arrays or numbers as they are.
_PLAIN = tuple(
    name
    for name in graph_model.Fitted._fields
    if name not in ("inputs", "targets", "config", "graph", "params", "line", "losses")
)
_SAMPLES = (
    *("x_train", "y_train", "x_valid", "y_valid", "at_input"),
    *("covariate_train", "covariate_valid"),
)
