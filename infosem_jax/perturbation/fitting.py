"""A method fitted to a screen: its predictions, its test, and its file.

Of networks the parameters are kept, and with them, as of all other methods, the responses that
were learned from and the knowledge: anyone who has such a file has the data.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from infosem_jax._shown import shown
from infosem_jax._typing import Path
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.types import Losses, Progress
from infosem_jax.graphs import GraphsTuple
from infosem_jax.outputs import arrays
from infosem_jax.perturbation.adapert import FittedNetwork, fit_networks, predict_network
from infosem_jax.perturbation.baselines import mean_response
from infosem_jax.perturbation.config import DEFAULT, AdaPertConfig, Config
from infosem_jax.perturbation.data import Responses, take
from infosem_jax.perturbation.gene_effects import Variances
from infosem_jax.perturbation.guides import is_control
from infosem_jax.perturbation.joining import Shares
from infosem_jax.perturbation.knowledge import Knowledge, make_knowledge
from infosem_jax.perturbation.methods import METHODS, configured
from infosem_jax.perturbation.metrics import Scores, evaluate
from infosem_jax.perturbation.network import NodeInputs
from infosem_jax.perturbation.prepare import ControlEncoding
from infosem_jax.perturbation.screen import Screen, predicted_changes
from infosem_jax.perturbation.splits import Split, draw_splits, usual_split
from infosem_jax.perturbation.task import Prediction, Task, flags, make_problem

KIND = "infosem_jax perturbation model 7"


@shown("method", "settings", "split", "train", "knowledge", "networks")
class Fitted(NamedTuple):
    """A method with all that it needs to predict.

    Attributes
    ----------
    method, settings
        Name of the method, and its settings.
    split, key
        How the test perturbations were drawn, and with which key.
    train, knowledge
        Responses that it learned from, and graphs and texts.
    held_out
        Cell line and genes of each test perturbation.
    networks
        One for each seed; none of methods that are not networks.
    """

    method: str
    settings: dict[str, Any]
    split: str
    key: int
    train: Responses
    knowledge: Knowledge
    held_out: tuple[tuple[str, tuple[str, ...]], ...]
    networks: tuple[FittedNetwork, ...]


@shown("truth", "predicted", "scores", "mean_scores", "notes")
class HeldOutTest(NamedTuple):
    """How well the test perturbations were predicted, beside the mean response.

    Attributes
    ----------
    truth
        Their responses.
    predicted
        What was predicted of them.
    scores, mean_scores
        Scores of the prediction, and of the mean response of the training perturbations.
    notes
        Which of them are predicted with little knowledge, in sentences.
    """

    truth: Responses
    predicted: Prediction
    scores: Scores
    mean_scores: Scores
    notes: tuple[str, ...]


def fit(
    data: Screen | Responses,
    knowledge: Knowledge | None = None,
    *,
    config: Config = DEFAULT,
    seeds: int = 1,
    key: int = 0,
    on_chunk: Callable[[Progress], None] | None = None,
    saver: Saver | None = None,
) -> Fitted:
    """Fit a method to the responses of a screen; test perturbations are not looked at.

    Parameters
    ----------
    data
        The screen, or its responses.
    knowledge
        Graphs and texts of genes; None for none.
    config
        Method, its settings, and the split.
    seeds
        Fits whose predictions are averaged; methods without random numbers are fitted once.
    key
        Seeds the random numbers and the split.
    on_chunk
        Told of progress, in fits.
    saver
        Saves the training of networks, and goes on from what was saved.

    Raises
    ------
    ValueError
        On unknown methods, settings or splits, and a split of several folds.
    FloatingPointError
        If a network diverged.
    Interrupted
        If training was told to stop; it has been saved.
    """
    settings = configured(config.method, config.settings).settings
    if seeds < 1:
        raise ValueError(f"seeds: expected at least 1, found {seeds}.")
    screen = data if isinstance(data, Screen) else Screen(data, {}, ("",) * len(data.perturbed))
    if knowledge is None:
        knowledge = make_knowledge({}, None, screen.genes)
    split = _one_split(screen, config.split, key)
    problem = make_problem(screen.responses, split, knowledge)
    # Tests of single cells are not needed to predict.
    train = problem.task.train._replace(changes=None)
    task = problem.task._replace(train=train)
    networks: list[FittedNetwork] = []
    if settings is not None:
        for i in range(seeds):
            report = on_chunk and (lambda progress, i=i: on_chunk(progress.of_fit(i, seeds)))
            networks += fit_networks(
                [task], settings, seed=key + i, on_chunk=report, saver=saver, number=i
            )
    return Fitted(
        config.method,
        {} if settings is None else asdict(settings),
        split.how,
        key,
        train,
        knowledge,
        tuple(zip(problem.truth.line, problem.truth.perturbed, strict=True)),
        tuple(networks),
    )


def predict(
    fitted: Fitted,
    perturbed: Sequence[str | tuple[str, ...]],
    line: str | Sequence[str] | None = None,
    control: Float32[np.ndarray, "n genes"] | None = None,
) -> Prediction:
    """Predict responses, averaged over seeds; variances add to those between seeds.

    Changes are those of mean expression, in the units of the data given to `fit`; of tables of
    signs, expected signs.

    Parameters
    ----------
    fitted
        What `fit` returned.
    perturbed
        Genes of each perturbation: a name, ``A+B``, or a tuple of names.
    line
        Cell line of all, or of each; None if there is one only.
    control
        Matched control means; None for the means of the cell line in training. With them the line
        may be one that training lacks. Tables of signs have none.

    Raises
    ------
    ValueError
        If a cell line was not among the training ones and has no controls, or these are in other
        units.
    """
    return _predict(fitted, task_of(fitted, perturbed, line, control))


def _predict(fitted: Fitted, task: Task) -> Prediction:
    if not fitted.networks:
        return METHODS[fitted.method].predict([task], 0)[0]
    found = [predict_network(each, task) for each in fitted.networks]
    change, de, up = (
        np.mean([getattr(each, name) for each in found], axis=0) for name in ("change", "de", "up")
    )
    spread = np.var([each.change for each in found], axis=0)
    within = np.mean([np.square(each.sd) for each in found if each.sd is not None], axis=0)
    sd = np.sqrt(spread + within).astype(np.float32)
    return Prediction(change, de, up, sd, found[0].informed)


def evaluate_held_out(fitted: Fitted, data: Screen | Responses) -> HeldOutTest:
    """Predict the perturbations that a fit left out, and score them beside the mean response.

    With cells, predicted cells are tested against the observed controls, as observed cells were.

    Parameters
    ----------
    fitted
        What `fit` returned.
    data
        What it was given.

    Raises
    ------
    ValueError
        If nothing was left out, or the data are not those of the fit.
    """
    screen = data if isinstance(data, Screen) else Screen(data, {}, ("",) * len(data.perturbed))
    truth = held_out(fitted, screen.responses)
    task = _task(fitted, truth.perturbed, truth.line, truth.control)
    predicted, mean = _predict(fitted, task), mean_response(task)
    scores, mean_scores = (
        evaluate(
            each,
            truth,
            mean.change if truth.continuous else None,
            changes=predicted_changes(each, truth, screen.controls, fitted.key),
            thresholds=screen.thresholds,
        )
        for each in (predicted, mean)
    )
    return HeldOutTest(truth, predicted, scores, mean_scores, tuple(flags(task)))


def held_out(fitted: Fitted, responses: Responses) -> Responses:
    """Return the responses to the perturbations that a fit left out for the test.

    Raises
    ------
    ValueError
        If nothing was left out, or the responses are not those of the fit.
    """
    if not fitted.held_out:
        raise ValueError("Expected a fit with test perturbations, found one of all; see split.")
    place = {at: i for i, at in enumerate(zip(responses.line, responses.perturbed, strict=True))}
    if responses.genes != fitted.train.genes or not set(fitted.held_out) <= set(place):
        raise ValueError("Expected the data that were given to fit, found others.")
    return take(responses, np.array([place[at] for at in fitted.held_out]))


def task_of(
    fitted: Fitted,
    perturbed: Sequence[str | tuple[str, ...]],
    line: str | Sequence[str] | None = None,
    control: Float32[np.ndarray, "n genes"] | None = None,
) -> Task:
    """Return the task of predicting responses from what a fit learned from.

    Parameters
    ----------
    fitted, perturbed, line, control
        As of `predict`.
    """
    genes = parse_perturbed(perturbed)
    new = control is not None and fitted.train.continuous
    lines = _lines(fitted, line, len(genes), new=new)
    control = _mean_control(fitted, lines) if control is None else control
    return _task(fitted, tuple(genes), lines, control)


def _task(
    fitted: Fitted,
    perturbed: tuple[tuple[str, ...], ...],
    line: tuple[str, ...],
    control: Float32[np.ndarray, "n genes"] | None,
) -> Task:
    return Task(fitted.train, np.zeros(0, int), perturbed, line, control, fitted.knowledge)


def _mean_control(fitted: Fitted, lines: Sequence[str]) -> Float32[np.ndarray, "n genes"] | None:
    """Return the mean control of cell lines in training; None of tables of signs."""
    train = fitted.train
    if train.control is None:
        return None
    of_line = np.asarray(train.line)
    means = {name: train.control[of_line == name].mean(0) for name in set(lines)}
    return np.stack([means[name] for name in lines]).astype(np.float32)


def parse_perturbed(perturbed: Sequence[str | tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return sorted genes of each perturbation, each once, from names such as ``A+B`` or tuples.

    Controls in a combination, as in ``A+ctrl``, are no genes.

    Raises
    ------
    ValueError
        If there is no perturbation, or one without genes.
    """
    if isinstance(perturbed, str):
        raise ValueError(f"Expected a list of perturbations, found {perturbed!r}.")
    parts = [each.split("+") if isinstance(each, str) else each for each in perturbed]
    named = [[gene.strip() for gene in genes if gene.strip()] for genes in parts]
    if not named or not all(named):
        raise ValueError("Expected the perturbed genes of at least one perturbation, found none.")
    found = [tuple(sorted({gene for gene in genes if not is_control(gene)})) for genes in named]
    if not all(found):
        name = "+".join(named[found.index(())])
        raise ValueError(f"{name}: expected perturbed genes, found a name of controls.")
    return found


def _lines(
    fitted: Fitted, line: str | Sequence[str] | None, n: int, *, new: bool
) -> tuple[str, ...]:
    """Return the cell line of each of n perturbations, from one for all, one for each, or none.

    Others than those of training are for callers that know their controls, ``new``.
    """
    known = sorted(set(fitted.train.line))
    if line is None and len(known) > 1:
        told = f"Expected a cell line (line=..., --line), one of {', '.join(known)}, found none."
        raise ValueError(told)
    lines = tuple(line or ()) if line is not None and not isinstance(line, str) else (line,) * n
    lines = tuple(known[0] if each is None else each for each in lines)
    if len(lines) != n:
        raise ValueError(f"Expected a cell line for each of {n} perturbations, found {len(lines)}.")
    if (other := sorted(set(lines) - set(known))) and not new:
        only = "; of another give the mean expression of its controls, control=, in Python"
        raise ValueError(
            f"Expected one of the cell lines {', '.join(known)}, found {other[0]!r}"
            f"{only if fitted.train.continuous else ''}."
        )
    return lines


def save(path: Path, fitted: Fitted) -> None:
    """Write a fit to one file, without pickle, see ``outputs.arrays.save``."""
    arrays.save(path, KIND, fitted)


def load(path: Path) -> Fitted:
    """Read what `save` wrote; ``ValueError`` if it is damaged or something else."""
    types = (
        AdaPertConfig, ControlEncoding, Fitted, FittedNetwork, GraphsTuple, Knowledge, Losses,
        NodeInputs, Responses, Shares, Variances,
    )  # fmt: skip
    return arrays.load(path, KIND, "infosem perturbation fit", types)


def _one_split(screen: Screen, how: str, key: int) -> Split:
    responses = screen.responses
    if how == "none":
        nothing = np.zeros(0, int)
        return Split(np.arange(len(responses.perturbed)), nothing, nothing, how)
    if how == "auto":
        how = usual_split(responses, screen.published, folds=False)
    splits = draw_splits(responses, how, key, screen.published)
    if len(splits) > 1:
        raise ValueError(
            f"split: {how} has {len(splits)} folds, and one fit is kept; choose another, or run "
            "infosem benchmark perturbation."
        )
    return splits[0]
