"""What happens if a gene is perturbed: responses predicted from control cells and knowledge."""

from infosem_jax.perturbation.data import Cells, Responses, stack, summarise
from infosem_jax.perturbation.de import Thresholds, predicted_cells, rank_sum, signs
from infosem_jax.perturbation.guards import from_profiles
from infosem_jax.perturbation.knowledge import Knowledge, make_knowledge, read_edges, read_text
from infosem_jax.perturbation.metrics import calibrate, evaluate
from infosem_jax.perturbation.readers import Columns, read_cells
from infosem_jax.perturbation.screen import Screen, read_knowledge, read_screen
from infosem_jax.perturbation.splits import Split, draw_splits, read_names
from infosem_jax.perturbation.tables import read_means, read_signed
from infosem_jax.perturbation.task import Method, Prediction, Problem, Task, make_problem

__all__ = [
    "Cells",
    "Columns",
    "Knowledge",
    "Method",
    "Prediction",
    "Problem",
    "Responses",
    "Screen",
    "Split",
    "Task",
    "Thresholds",
    "calibrate",
    "draw_splits",
    "evaluate",
    "from_profiles",
    "make_knowledge",
    "make_problem",
    "predicted_cells",
    "rank_sum",
    "read_cells",
    "read_edges",
    "read_knowledge",
    "read_means",
    "read_names",
    "read_screen",
    "read_signed",
    "read_text",
    "signs",
    "stack",
    "summarise",
]
