"""The task that every method is given: some genes of a sample in, all or the other genes out."""

import logging
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, Int

from infosem_jax._shown import shown
from infosem_jax.expression.profiles import Profiles, align_genes, label_of, present
from infosem_jax.expression.splits import Split, check_split
from infosem_jax.expression.units import Units, check_units, describe_units

_log = logging.getLogger("infosem_jax")

Platforms: TypeAlias = Profiles | tuple[Profiles, Profiles]


class Scaling(NamedTuple):
    """How expression was scaled: ``(x - location) / scale``, fitted on training samples only.

    Attributes
    ----------
    how
        ``max``: divided by the largest value of all training samples and genes, as Kim et al.
        (2025) do; ``standard``: each gene to mean 0 and standard deviation 1; ``none``.
    location, scale
        In units of the data, [genes].
    """

    how: str
    location: Float32[np.ndarray, " genes"]
    scale: Float32[np.ndarray, " genes"]


@shown("x_train", "x_valid", "x_test", "y_train", "inputs", "targets")
class Task(NamedTuple):
    """Everything that a method sees, in scaled units; the truth of the test samples is not here.

    Attributes
    ----------
    inputs, targets
        Names of the genes that are measured and of those to infer.
    x_train, x_valid, x_test
        Input genes, [samples, inputs].
    y_train, y_valid
        Target genes, [samples, targets].
    at_input
        Place of each input gene among the targets, -1 where it is none, [inputs].
    covariate_train, covariate_valid, covariate_test
        One-hot covariates such as the organ, [samples, c]; c may be 0.
    groups
        Group of each training and, after them, validation sample: the test is on samples of other
        groups, and so should be any choice. None where the test is on other samples only.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    x_train: Float32[np.ndarray, "train inputs"]
    y_train: Float32[np.ndarray, "train targets"]
    x_valid: Float32[np.ndarray, "valid inputs"]
    y_valid: Float32[np.ndarray, "valid targets"]
    x_test: Float32[np.ndarray, "test inputs"]
    at_input: Int[np.ndarray, " inputs"]
    covariate_train: Float32[np.ndarray, "train c"]
    covariate_valid: Float32[np.ndarray, "valid c"]
    covariate_test: Float32[np.ndarray, "test c"]
    groups: Int[np.ndarray, " samples"] | None = None


@shown("mean", "sd")
class Prediction(NamedTuple):
    """Inferred expression, in the scaled units of the task; see `unscale`.

    Attributes
    ----------
    mean
        Expected expression, [samples, targets].
    sd
        Its standard deviation, [samples, targets]; None of methods that have none.
    """

    mean: Float32[np.ndarray, "samples targets"]
    sd: Float32[np.ndarray, "samples targets"] | None = None


@shown("task", "samples", "platforms", "levels", "imputed", "notes")
class Problem(NamedTuple):
    """A task with all that only its runner may know.

    Attributes
    ----------
    task
        What methods see.
    y_test
        Truth of the test samples in scaled units, [test, targets].
    platforms
        Names of the data of inputs and of targets; alike where these are one platform.
    samples
        Names of the test samples.
    x_scaling, y_scaling
        Of the input and the target genes.
    units
        What the training inputs look like, for ``check_units`` on new data.
    largest
        Largest training value of the target genes, in units of the data; see `comparable`.
    imputed
        Input genes that the cohort lacks and that stand at their training means.
    levels
        Names of the covariates' columns.
    notes
        What was done to the data, in sentences.
    """

    task: Task
    y_test: Float32[np.ndarray, "test targets"]
    platforms: tuple[str, str]
    samples: tuple[str, ...]
    x_scaling: Scaling
    y_scaling: Scaling
    units: Units
    largest: float
    imputed: tuple[str, ...]
    levels: tuple[str, ...]
    notes: tuple[str, ...]


def make_task(
    profiles: Platforms,
    inputs: Sequence[str],
    split: Split,
    *,
    targets: Literal["all", "rest"] | Sequence[str] = "all",
    scaling: str = "standard",
    covariates: Sequence[str] | str = (),
    cohort: Platforms | None = None,
    missing: Literal["refuse", "impute"] = "refuse",
) -> Problem:
    """Make a task from expression, or from the same samples on two platforms.

    Parameters
    ----------
    profiles
        Expression; or two of them, the platform of the inputs and that of the targets, with the
        same samples in the same order (see `pair_samples`).
    inputs
        Genes that are measured.
    split
        Parts of the samples.
    targets
        Genes to infer: all, those that are no inputs, or a list.
    scaling
        As of :class:`Scaling`; location and scale come from the training samples, also for a
        cohort.
    covariates
        Labels of the samples, such as ``tissue``, that methods see one-hot. Values that no
        training sample has become zeros.
    cohort
        Other data to test on, in the form of ``profiles``, in place of the test part of the split.
        Its units must match (see ``check_units``).
    missing
        What becomes of input genes that the cohort lacks: refused, or set to the training mean.

    Raises
    ------
    ValueError
        On missing or repeated genes, platforms whose samples differ, a split that does not fit,
        unknown covariates, units of the cohort that do not match, and largest values of at most 0
        where ``scaling`` is "max".
    """
    source, truth = platforms(profiles)
    check_split(split, len(source.samples), needs_test=cohort is None)
    inputs = tuple(inputs)
    if not inputs:
        raise ValueError("Expected at least one input gene, found none.")
    wanted, notes = _targets(truth, inputs, targets, cohort)
    x = align_genes(source, inputs).x
    y = align_genes(truth, wanted).x
    one_platform = source is truth
    x_scaling = fit_scaling(x[split.train], scaling)
    y_scaling = fit_scaling(y[split.train], scaling)
    if one_platform and scaling == "max":
        # A gene that is input and target must have one value, so both sides share the divisor.
        top = max(x_scaling.scale[0], y_scaling.scale[0])
        x_scaling = x_scaling._replace(scale=np.full_like(x_scaling.scale, top))
        y_scaling = y_scaling._replace(scale=np.full_like(y_scaling.scale, top))
    units = describe_units(x[split.train], source.x, source.name, source.base)
    levels = _levels(source, split, covariates)
    covariate = _onehot(source, levels)
    if cohort is None:
        x_test, y_test, c_test = x[split.test], y[split.test], covariate[split.test]
        samples, imputed = tuple(source.samples[i] for i in split.test), ()
    else:
        new_source, new_truth = platforms(cohort)
        fill = x[split.train].mean(0)
        x_test, imputed = align_genes(new_source, inputs, missing=missing, fill=fill)
        y_test = align_genes(new_truth, wanted).x
        measured = ~np.isin(np.asarray(inputs), imputed)
        check_units(
            describe_units(x_test[:, measured], new_source.x, new_source.name, new_source.base),
            describe_units(x[split.train][:, measured], source.x, source.name, source.base),
            f"the inputs of {new_source.name}",
        )
        check_units(
            describe_units(y_test, base=new_truth.base),
            describe_units(y[split.train], base=truth.base),
            f"the truth of {new_truth.name}",
        )
        c_test, samples = _onehot(new_source, levels), new_source.samples
        notes.append(f"tested on {new_truth.name}, scaled as the training part of {truth.name}")
    if imputed:
        notes.append(f"{len(imputed)} inputs at their training means: {', '.join(imputed)}")
    place = {gene: i for i, gene in enumerate(wanted)}
    task = Task(
        inputs=inputs,
        targets=wanted,
        x_train=scale(x[split.train], x_scaling),
        y_train=scale(y[split.train], y_scaling),
        x_valid=scale(x[split.valid], x_scaling),
        y_valid=scale(y[split.valid], y_scaling),
        x_test=scale(x_test, x_scaling),
        at_input=np.array([place.get(gene, -1) for gene in inputs], int),
        covariate_train=covariate[split.train],
        covariate_valid=covariate[split.valid],
        covariate_test=c_test,
        groups=None
        if split.groups is None
        else split.groups[np.concatenate([split.train, split.valid])],
    )
    return Problem(
        task, scale(y_test, y_scaling), (source.name, truth.name), samples, x_scaling, y_scaling,
        units, float(y[split.train].max()), tuple(imputed),
        tuple(f"{name}={value}" for name, value in levels), (f"samples {split.how}", *notes),
    )  # fmt: skip


def platforms(profiles: Platforms) -> tuple[Profiles, Profiles]:
    """Return the platform of the inputs and that of the targets, which may be the same.

    Raises
    ------
    ValueError
        If their samples differ.
    """
    if isinstance(profiles, Profiles):
        return profiles, profiles
    source, truth = profiles
    if source.samples != truth.samples:
        raise ValueError(
            f"Expected the same samples in the same order in {source.name} "
            f"({len(source.samples)}) and {truth.name} ({len(truth.samples)}); "
            "bring them together with pair_samples first."
        )
    return source, truth


def fit_scaling(x: Float32[np.ndarray, "samples genes"], how: str) -> Scaling:
    """Fit a scaling to training samples; genes without variation keep their scale.

    Parameters
    ----------
    x
        Training samples, [samples, genes].
    how
        ``max``, ``standard`` or ``none``, as of :class:`Scaling`.

    Raises
    ------
    ValueError
        If the largest value is at most 0 and ``how`` is "max", or ``how`` is unknown.
    """
    n = x.shape[1]
    zero, one = np.zeros(n, np.float32), np.ones(n, np.float32)
    if how == "none":
        return Scaling(how, zero, one)
    if how == "max":
        if x.max() <= 0:
            raise ValueError(
                f"Expected values above 0 to scale by the largest, found at most {x.max():.4g}; "
                "choose scaling 'standard'."
            )
        return Scaling(how, zero, one * x.max())
    if how != "standard":
        raise ValueError(f"Expected scaling 'max', 'standard' or 'none', found {how!r}.")
    # In double precision a constant gene has a deviation of rounding errors only.
    deviation = x.std(0, dtype=np.float64)
    varies = deviation > 1e-6 * np.maximum(np.abs(x).max(0), 1e-30)
    return Scaling(
        how,
        x.mean(0, dtype=np.float64).astype(np.float32),
        np.where(varies, deviation, 1.0).astype(np.float32),
    )


def scale(
    x: Float32[np.ndarray, "samples genes"], scaling: Scaling
) -> Float32[np.ndarray, "samples genes"]:
    """Bring expression from the units of the data to those of a task."""
    return (x - scaling.location) / scaling.scale


def unscale(prediction: Prediction, scaling: Scaling) -> Prediction:
    """Bring a prediction from the units of a task to those of the data."""
    sd = None if prediction.sd is None else prediction.sd * scaling.scale
    return Prediction(prediction.mean * scaling.scale + scaling.location, sd)


def comparable(
    problem: Problem, prediction: Prediction
) -> tuple[Float32[np.ndarray, "samples targets"], Float32[np.ndarray, "samples targets"]]:
    """Return truth and prediction on the scale on which Kim et al. (2025) measure.

    That is the units of the data divided by the largest training value, whatever the scaling of
    the task, so that figures can be set beside each other and beside the paper's.
    """
    truth = unscale(Prediction(problem.y_test), problem.y_scaling).mean
    mean = unscale(prediction, problem.y_scaling).mean
    top = np.float32(problem.largest if problem.largest > 0 else 1.0)
    return truth / top, mean / top


def _targets(
    truth: Profiles,
    inputs: tuple[str, ...],
    targets: str | Sequence[str],
    cohort: Platforms | None,
) -> tuple[tuple[str, ...], list[str]]:
    """Return the target genes, and a note where a cohort lacks some."""
    if isinstance(targets, str):
        if targets not in ("all", "rest"):
            raise ValueError(f"Expected targets 'all', 'rest' or a list, found {targets!r}.")
        left_out = set(inputs) if targets == "rest" else set()
        wanted = tuple(gene for gene in truth.genes if gene not in left_out)
        other = () if cohort is None else (platforms(cohort)[1],)
        shared = present(wanted, truth, *other)
        if not shared:
            raise ValueError("Expected genes to infer, found none besides the inputs.")
        lacking = len(wanted) - len(shared)
        note = [f"{lacking} target genes that the cohort lacks are left out"] if lacking else []
        return shared, note
    if not len(targets):
        raise ValueError("Expected at least one target gene, found none.")
    return tuple(targets), []


def _levels(
    profiles: Profiles, split: Split, names: Sequence[str] | str
) -> tuple[tuple[str, str], ...]:
    """Return the values of each covariate that training samples have; unknown ones are none."""
    names = (names,) if isinstance(names, str) else names
    return tuple(
        (name, value)
        for name in names
        for value in np.unique(label_of(profiles, name)[split.train].astype(str)).tolist()
        if value
    )


def _onehot(profiles: Profiles, levels: tuple[tuple[str, str], ...]) -> np.ndarray:
    if not levels:
        return np.zeros((len(profiles.samples), 0), np.float32)
    columns = [label_of(profiles, name).astype(str) == value for name, value in levels]
    return np.stack(columns, 1).astype(np.float32)
