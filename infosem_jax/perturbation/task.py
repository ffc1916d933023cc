"""The task that every method is given: responses to learn from, and perturbations to predict."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Int

from infosem_jax._shown import shown
from infosem_jax.perturbation.data import Responses, take
from infosem_jax.perturbation.knowledge import Knowledge, reach
from infosem_jax.perturbation.splits import Split


@shown("train", "valid", "perturbed", "knowledge")
class Task(NamedTuple):
    """Everything that a method sees; responses to the test perturbations are not here.

    Attributes
    ----------
    train
        Responses to learn from, those of the validation part included.
    valid
        Which of its rows are for early stopping, rather than to be learned from; may be none.
    perturbed, line
        Genes and cell line of each test perturbation.
    control
        Matched control means of the test perturbations, [test, genes]; None of tables of signs.
    knowledge
        Graphs and texts.
    """

    train: Responses
    valid: Int[np.ndarray, " valid"]
    perturbed: tuple[tuple[str, ...], ...]
    line: tuple[str, ...]
    control: Float32[np.ndarray, "test genes"] | None
    knowledge: Knowledge

    @property
    def genes(self) -> tuple[str, ...]:
        """Genes that respond."""
        return self.train.genes


# What is known of genes, by option of the command, and what is said of genes without it.
_GIVEN = "graph (--graph)", "texts (--text)"
_ALONE = "texts", "the graph"
_MISSING = "outside the graph", "without a text"
# Perturbations that something is asked of: those of a task, or those that were observed.
Asked: TypeAlias = Task | Responses


@shown("change", "sd")
class Prediction(NamedTuple):
    """Predicted responses to the test perturbations.

    Attributes
    ----------
    change
        Expected change of mean log expression; of tables of signs, the expected sign,
        [test, genes].
    de
        Larger where a gene is more likely to be differentially expressed, [test, genes].
    up
        Larger where it is more likely to go up, if it is, [test, genes].
    sd
        Standard deviation of the change, [test, genes]; None of methods that have none.
    informed
        Perturbations of which the method knew what it uses; the others are guesses, [test].
    """

    change: Float32[np.ndarray, "test genes"]
    de: Float32[np.ndarray, "test genes"]
    up: Float32[np.ndarray, "test genes"]
    sd: Float32[np.ndarray, "test genes"] | None = None
    informed: Bool[np.ndarray, " test"] | None = None


class Problem(NamedTuple):
    """A task with the truth that only its runner may know."""

    task: Task
    truth: Responses


def make_problem(responses: Responses, split: Split, knowledge: Knowledge) -> Problem:
    """Split responses into the task that methods see and the truth that they are tested on.

    Parameters
    ----------
    responses
        All responses.
    split
        Rows for training, early stopping and test.
    knowledge
        Graphs and texts.

    Raises
    ------
    ValueError
        If a test perturbation is also learned from, in the same cell line.
    """
    rows = np.concatenate([split.train, split.valid])
    own = {(responses.line[i], responses.perturbed[i]) for i in rows}
    leaked = [i for i in split.test if (responses.line[i], responses.perturbed[i]) in own]
    if leaked:
        name = responses.labels[leaked[0]]
        raise ValueError(f"The test perturbation {name} is also among those to learn from.")
    truth = take(responses, split.test)
    valid = np.arange(len(split.train), len(rows))
    task = Task(
        take(responses, rows)._replace(halves=None),
        valid,
        truth.perturbed,
        truth.line,
        truth.control,
        knowledge,
    )
    return Problem(task, truth)


def flags(task: Task) -> list[str]:
    """Return a sentence of the test perturbations of which nothing, or only a part, is known."""
    edges, text = reach(task.knowledge, task.perturbed)
    given = bool(task.knowledge.graphs), bool(task.knowledge.has_text.any())
    notes = []
    if not any(given):
        notes.append(
            f"no {' and no '.join(_GIVEN)}: genes that were never perturbed have nothing to be "
            "told apart by; give what is known of genes"
        )
    elif not all(given):
        absent = given.index(False)
        notes.append(
            f"no {_GIVEN[absent]}: genes that were never perturbed are told apart by "
            f"{_ALONE[absent]} alone"
        )
    for known, what, there in zip((edges, text), _MISSING, given, strict=True):
        if not there:
            continue
        names = [
            "+".join(genes) for genes, yes in zip(task.perturbed, known, strict=True) if not yes
        ]
        if names:
            more = ", ..." if len(names) > 5 else ""
            notes.append(
                f"{len(names)} of {len(task.perturbed)} test perturbations are {what} "
                f"({', '.join(names[:5])}{more}) and are predicted by what is known."
            )
    return notes


def were_perturbed(
    train: Responses, perturbed: Sequence[tuple[str, ...]]
) -> Bool[np.ndarray, " n"]:
    """Tell of which perturbations a gene was perturbed in training, alone or with others."""
    seen = {gene for genes in train.perturbed for gene in genes}
    return np.array([not seen.isdisjoint(genes) for genes in perturbed], bool)


def from_change(
    change: Float32[np.ndarray, "test genes"], informed: Bool[np.ndarray, " test"] | None = None
) -> Prediction:
    """Make a prediction of a change alone: the larger, the more likely it is significant."""
    change = change.astype(np.float32)
    return Prediction(change, np.abs(change), change, None, informed)
