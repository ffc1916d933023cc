"""Fitted methods: learned from samples, saved without pickle, and used on new samples.

What is kept depends on the method. Of the graph network it is its parameters. Of methods that are
affine in their inputs it is slopes and offsets, found by probing. Of the others, and of ``auto``,
it is the training samples, from which the method learns again with each prediction: anyone who has
such a file has the data.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32

from infosem_jax._settings import Method
from infosem_jax._shown import shown
from infosem_jax._typing import Path
from infosem_jax.data.units import BASES
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.types import Losses, Progress
from infosem_jax.expression import graph_model
from infosem_jax.expression.auto import AutoConfig, FittedAuto, fit_auto, predict_auto
from infosem_jax.expression.choices import make_problem
from infosem_jax.expression.config import DEFAULT, Config
from infosem_jax.expression.graph import GeneGraph
from infosem_jax.expression.graph_model import FittedGraph, fit_graph, predict_graph
from infosem_jax.expression.methods import configured
from infosem_jax.expression.network import GraphConfig
from infosem_jax.expression.profiles import Profiles, align_genes
from infosem_jax.expression.scales import constant_inputs, unlike_means, unlike_samples
from infosem_jax.expression.task import (
    Platforms,
    Prediction,
    Problem,
    Scaling,
    Task,
    scale,
    unscale,
)
from infosem_jax.expression.units import Units, check_units, describe_units
from infosem_jax.graphs import GraphsTuple
from infosem_jax.outputs import arrays

_log = logging.getLogger("infosem_jax")

KIND = "infosem_jax expression model 2"


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


class Refitted(NamedTuple):
    """A method that is fitted again with each prediction, to these samples with this seed."""

    task: Task
    seed: int


Member: TypeAlias = Affine | Refitted | FittedGraph | FittedAuto


@shown("method", "settings", "inputs", "targets", "levels", "members")
class Fitted(NamedTuple):
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
    members: tuple[Member, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What fits left out and why, in sentences."""
        own = (each.notes for each in self.members if isinstance(each, FittedAuto))
        return tuple(dict.fromkeys(note for notes in own for note in notes))


def fit(
    data: Platforms | Problem,
    landmarks: Sequence[str] = (),
    *,
    config: Config = DEFAULT,
    seeds: int = 1,
    key: int = 0,
    on_chunk: Callable[[Progress], None] | None = None,
    saver: Saver | None = None,
) -> Fitted:
    """Learn to infer genes from others, on the training and validation samples of some data.

    Parameters
    ----------
    data
        Expression, the platforms of inputs and targets, or a problem that was made of them before
        (see `make_problem`), whose test samples are then at hand to evaluate the fit.
    landmarks
        Names of landmark genes, for ``inputs="landmarks"``.
    config
        Settings; of a problem only ``method`` and ``settings`` are of matter.
    seeds
        Number of fits that are averaged; methods without random numbers need one.
    key
        Seeds the split, and, with those that follow it, the fits.
    on_chunk
        Told of progress, in fits.
    saver
        Saves the training of networks, and goes on from what was saved.

    Raises
    ------
    ValueError
        On unknown methods or settings, genes or labels that are missing, and samples that cannot be
        split as asked.
    FloatingPointError
        If a network diverged.
    Interrupted
        If training was told to stop; it has been saved.
    """
    method = configured(config.method, config.settings)
    if not isinstance(data, Problem):
        data = make_problem(data, landmarks, config=config, key=key)
    n = seeds if method.random else 1
    members = []
    for i in range(n):
        report = on_chunk and (lambda progress, i=i: on_chunk(progress.of_fit(i, n)))
        members.append(
            _fit_member(data.task, method, key + i, on_chunk=report, saver=saver, number=i)
        )
        if on_chunk is not None:
            on_chunk(Progress(i + 1, n, "fits", f"{config.method}, seed {key + i}"))
    fill = data.task.x_train.mean(0, dtype=np.float64) * data.x_scaling.scale
    return Fitted(
        config.method,
        {} if method.settings is None else asdict(method.settings),
        data.task.inputs,
        data.task.targets,
        data.x_scaling,
        data.y_scaling,
        data.units,
        (fill + data.x_scaling.location).astype(np.float32),
        data.levels,
        data.platforms,
        tuple(members),
    )


def predict(fitted: Fitted, data: Profiles | Problem, *, impute: bool = False) -> Prediction:
    """Infer the targets of samples, in units of the data.

    The mean is that over seeds, and the variance the mean of theirs plus that between them.

    Parameters
    ----------
    fitted
        The fit.
    data
        New samples in the units of the training data, or a problem, whose test samples are taken.
    impute
        Whether inputs that are missing stand at their training means.

    Raises
    ------
    ValueError
        As of ``prepare``.
    """
    return infer(fitted, prepare(fitted, data, impute=impute))


def infer(fitted: Fitted, prepared: "Prepared") -> Prediction:
    """Infer the targets of samples that ``prepare`` brought into form, as `predict` does."""
    x, covariate = scale(prepared.x, fitted.x_scaling), prepared.covariate
    found = [_predict_member(fitted, member, x, covariate) for member in fitted.members]
    means = np.stack([each.mean for each in found])
    sds = [each.sd for each in found if each.sd is not None]
    sd = None
    if len(sds) == len(found):
        sd = np.sqrt(np.mean(np.square(sds), axis=0) + means.var(0)).astype(np.float32)
    return unscale(Prediction(means.mean(0), sd), fitted.y_scaling)


class Prepared(NamedTuple):
    """Samples as a fit takes them.

    Attributes
    ----------
    x
        Inputs in units of the data, [samples, inputs].
    covariate
        One-hot covariates in the order of ``levels``, [samples, c].
    imputed
        Inputs that stand at their training means.
    """

    x: Float32[np.ndarray, "samples inputs"]
    covariate: Float32[np.ndarray, "samples c"]
    imputed: tuple[str, ...]


def prepare(fitted: Fitted, data: Profiles | Problem, *, impute: bool = False) -> Prepared:
    """Bring samples into the form that a fit takes.

    Parameters
    ----------
    fitted, data, impute
        As of `predict`.

    Raises
    ------
    ValueError
        If inputs or covariates are missing, or the units do not match those of the training.
    """
    if isinstance(data, Problem):
        if (data.task.inputs, data.levels) != (fitted.inputs, fitted.levels):
            raise ValueError(
                "Expected a problem with the inputs and covariates of the fit, found another."
            )
        x = unscale(Prediction(data.task.x_test), data.x_scaling).mean
        return Prepared(x, data.task.covariate_test, data.imputed)
    how = "impute" if impute else "refuse"
    x, imputed = align_genes(data, fitted.inputs, missing=how, fill=fitted.fill)
    measured = ~np.isin(np.asarray(fitted.inputs), imputed)
    found = describe_units(x[:, measured], data.x, data.name, data.base)
    check_units(found, fitted.units, f"the inputs of {data.name}")
    for note in _doubts(fitted, x, measured, found, data.name):
        _log.warning(note)
    columns, known = [], {}
    for level in fitted.levels:
        name, _, value = level.partition("=")
        if name not in data.labels:
            raise ValueError(
                f"{data.name}: the model was fitted with the label {name!r} of samples, found "
                f"{', '.join(data.labels) or 'no labels'}; add it, in obs of an h5ad file."
            )
        known.setdefault(name, []).append(value)
        columns.append(data.labels[name].astype(str) == value)
    for name, values in known.items():
        _check_known(data, name, values)
    covariate = np.array(columns, np.float32).T.reshape(len(x), len(columns))
    return Prepared(x, covariate, imputed)


def _doubts(
    fitted: Fitted,
    x: Float32[np.ndarray, "samples inputs"],
    measured: Bool[np.ndarray, " inputs"],
    found: Units,
    name: str,
) -> list[str]:
    """Say what looks wrong with inputs whose units may be right."""
    x, means, base = x[:, measured], fitted.fill[measured], fitted.units.base
    notes = []
    if fitted.x_scaling.how == "standard":
        genes, deviation = np.array(fitted.inputs)[measured], fitted.x_scaling.scale[measured]
        notes += constant_inputs(x, genes, means, deviation, name)
    if fitted.units.kind == "log":
        if found.base in BASES and base not in BASES:
            notes.append(
                f"{name}: these are logarithms to base {found.base}, and the training data do not "
                "tell theirs; if it is another, what is inferred is wrong. --log-base states it in "
                "the fit"
            )
        told, seen = base == found.base and base in BASES, _seen(fitted)
        notes += (
            unlike_means(x, means, base, name, told=told)
            if seen is None
            else unlike_samples(x, seen[:, measured], base, name, told=told)
        )
    return notes


def _seen(fitted: Fitted) -> Float32[np.ndarray, "seen inputs"] | None:
    """Return inputs of training samples in units of the data, of methods that keep them."""
    member, n = fitted.members[0], len(fitted.inputs)
    if isinstance(member, FittedAuto):
        x = member.x[:, :n]
    elif isinstance(member, Refitted):
        x = np.concatenate([member.task.x_train, member.task.x_valid])
    else:
        return None
    return unscale(Prediction(x), fitted.x_scaling).mean


def _check_known(data: Profiles, name: str, known: list[str]) -> None:
    """Refuse values of a label that training never had; samples without one are unknown."""
    found = set(data.labels[name].astype(str).tolist()) - {""}
    strange = sorted(found - set(known))
    if strange:
        same = {value.lower(): value for value in known}
        near = [f"{each} / {same[each.lower()]}" for each in strange if each.lower() in same]
        hint = f"; some differ in case only: {', '.join(near[:3])}" if near else ""
        raise ValueError(
            f"{data.name}: {len(strange)} values of the label {name!r} were not among the training "
            f"samples: {', '.join(strange[:5])}{hint}. Known are {', '.join(known[:20])}; leave a "
            "value empty where it is not known."
        )


def save(path: Path, fitted: Fitted) -> None:
    """Write a fit to one file, without pickle, see ``outputs.arrays.save``."""
    arrays.save(path, KIND, fitted)


def load(path: Path) -> Fitted:
    """Read what `save` wrote; ``ValueError`` if it is damaged or something else."""
    return arrays.load(path, KIND, "infosem expression fit", _TYPES)


# All that a file may hold.
_TYPES = (
    *(Fitted, Scaling, Units, Affine, Refitted, Task, FittedAuto, AutoConfig),
    *(FittedGraph, GraphConfig, GeneGraph, GraphsTuple, graph_model.Line, Losses),
)


def _fit_member(task: Task, method: Method, seed: int, **training: Any) -> Member:
    if isinstance(method.settings, AutoConfig):
        return fit_auto(task, method.settings, seed=seed, **training)
    if isinstance(method.settings, GraphConfig):
        return fit_graph(task, method.settings, seed=seed, **training)
    if method.affine:
        return _probe(task, method)
    return Refitted(
        task._replace(x_test=task.x_test[:0], covariate_test=task.covariate_test[:0]), seed
    )


def _probe(task: Task, method: Method) -> Affine:
    """Ask an affine method for its value at 0 and at each unit vector."""
    n, c = len(task.inputs), task.covariate_train.shape[1]
    points = np.eye(n + c + 1, n + c, -1, np.float32)
    asked = task._replace(x_test=points[:, :n], covariate_test=points[:, n:])
    found = method.predict(asked, 0)
    sd = np.zeros(len(task.targets), np.float32) if found.sd is None else found.sd[0]
    return Affine(
        (found.mean[1:] - found.mean[0]).astype(np.float32),
        found.mean[0].astype(np.float32),
        sd.astype(np.float32),
    )


def _predict_member(
    fitted: Fitted,
    member: Member,
    x: Float32[np.ndarray, "samples inputs"],
    covariate: Float32[np.ndarray, "samples c"],
) -> Prediction:
    if isinstance(member, Affine):
        mean = np.concatenate([x, covariate], 1) @ member.slope + member.offset
        return Prediction(mean, np.tile(member.sd, (len(x), 1)))
    if isinstance(member, FittedGraph):
        return predict_graph(member, x, covariate)
    if isinstance(member, FittedAuto):
        return predict_auto(member, x, covariate)
    task = member.task._replace(x_test=x, covariate_test=covariate)
    return configured(fitted.method, fitted.settings).predict(task, member.seed)
