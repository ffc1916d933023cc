"""What happens if a gene is perturbed: responses predicted from control cells and knowledge."""

from infosem_jax.perturbation.config import AdaPertConfig, Config
from infosem_jax.perturbation.data import Cells, Responses, stack, summarise
from infosem_jax.perturbation.de import Thresholds, predicted_cells, rank_sum, signs
from infosem_jax.perturbation.evaluation import Evaluation, evaluate_predictions
from infosem_jax.perturbation.explanation import Explanation, explain
from infosem_jax.perturbation.fitting import (
    Fitted,
    HeldOutTest,
    evaluate_held_out,
    fit,
    held_out,
    load,
    predict,
    save,
    task_of,
)
from infosem_jax.perturbation.guards import from_profiles
from infosem_jax.perturbation.knowledge import Knowledge, make_knowledge, read_edges, read_text
from infosem_jax.perturbation.metrics import Scores, calibrate, evaluate
from infosem_jax.perturbation.readers import Columns, read_cells
from infosem_jax.perturbation.screen import Screen, read_knowledge, read_screen, screen_of_cells
from infosem_jax.perturbation.splits import Split, draw_splits, read_names, usual_split
from infosem_jax.perturbation.tables import read_means, read_signed
from infosem_jax.perturbation.task import Prediction, Problem, Task, make_problem

__all__ = [
    "AdaPertConfig",
    "Cells",
    "Columns",
    "Config",
    "Evaluation",
    "Explanation",
    "Fitted",
    "HeldOutTest",
    "Knowledge",
    "Prediction",
    "Problem",
    "Responses",
    "Scores",
    "Screen",
    "Split",
    "Task",
    "Thresholds",
    "calibrate",
    "draw_splits",
    "evaluate",
    "evaluate_held_out",
    "evaluate_predictions",
    "explain",
    "fit",
    "from_profiles",
    "held_out",
    "load",
    "make_knowledge",
    "make_problem",
    "predict",
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
    "save",
    "screen_of_cells",
    "signs",
    "stack",
    "summarise",
    "task_of",
    "usual_split",
]
