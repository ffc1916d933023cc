"""What users of a fit get: how far each gene can be trusted, and samples made complete."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from infosem_jax.expression.fitting import Fitted, infer, prepare
from infosem_jax.expression.metrics import gene_table
from infosem_jax.expression.profiles import Profiles
from infosem_jax.expression.task import Prediction, Problem, unscale
from infosem_jax.scores import NINETY

if TYPE_CHECKING:
    import anndata

TRUST = ("pearson", "recall", "sd")


def trust_table(problem: Problem, prediction: Prediction) -> pd.DataFrame:
    """Score how well each gene was inferred in the test samples.

    Parameters
    ----------
    problem
        Holds the truth of the test samples.
    prediction
        Of these samples, in units of the data.

    Returns
    -------
    Columns ``gene, pearson, spearman, r2, mae, recall, best`` as in
    `~infosem_jax.expression.gene_table`; ``sd``, the mean of the stated standard
    deviations, and ``within_90``, the share of samples whose truth lies within 1.64 of them: about
    0.9 where deviations mean what they say. Errors are in units of the data.
    """
    truth = unscale(Prediction(problem.y_test), problem.y_scaling).mean
    train = unscale(Prediction(problem.task.y_train), problem.y_scaling).mean
    table = gene_table(prediction.mean, truth, problem.task.targets, train)
    if prediction.sd is None:
        return table.assign(sd=np.nan, within_90=np.nan)
    within = np.abs(truth - prediction.mean) <= NINETY * prediction.sd
    return table.assign(sd=prediction.sd.mean(0), within_90=within.mean(0))


def complete(
    fitted: Fitted, data: Profiles, trust: pd.DataFrame, *, impute: bool = False
) -> "anndata.AnnData":
    """Infer what was not measured, and keep what was.

    Parameters
    ----------
    fitted
        The fit.
    data
        New samples, in units of the training data.
    trust
        Table of `trust_table`.
    impute
        Whether inputs that are missing stand at their training means.

    Returns
    -------
    Samples x (targets, then all other genes of the samples and the inputs). ``X`` holds what was
    measured, and elsewhere what was inferred; of a fit from one platform to another it holds
    inferred values only, of the targets only, and the inputs are in ``obsm["inputs"]``. Layers
    ``inferred`` and ``inferred_sd`` are NaN where a gene is no target. Columns of ``var``:
    ``is_input``, ``is_target``, ``is_measured``, ``is_imputed`` (inputs at their training means)
    and those of the trust table that say how far to trust a gene.

    Raises
    ------
    ValueError
        If the table is that of other genes, and as of `infosem_jax.expression.predict`.
    """
    import anndata

    if not {"gene", *TRUST} <= set(trust) or set(trust["gene"]) != set(fitted.targets):
        raise ValueError(
            "The trust table does not go with the fit: expected its targets, and columns gene, "
            f"{', '.join(TRUST)}; was it changed?"
        )
    ready = prepare(fitted, data, impute=impute)
    found = infer(fitted, ready)
    one_platform = fitted.platforms[0] == fitted.platforms[1]
    kept = (*data.genes, *fitted.inputs) if one_platform else ()
    genes = list(dict.fromkeys((*fitted.targets, *kept)))
    place = {gene: i for i, gene in enumerate(genes)}
    n, n_targets = len(data.samples), len(fitted.targets)
    inferred, sd = (np.full((n, len(genes)), np.nan, np.float32) for _ in range(2))
    inferred[:, :n_targets] = found.mean
    if found.sd is not None:
        sd[:, :n_targets] = found.sd
    x = inferred.copy()
    if one_platform:
        x[:, [place[gene] for gene in fitted.inputs]] = ready.x
        x[:, [place[gene] for gene in data.genes]] = data.x
    index = pd.Index(genes)
    rated = trust.set_index("gene").reindex(index)
    var = pd.DataFrame(
        {
            "is_input": index.isin(fitted.inputs),
            "is_target": index.isin(fitted.targets),
            "is_measured": index.isin(data.genes),
            "is_imputed": index.isin(ready.imputed),
            **{column: rated[column].to_numpy() for column in TRUST},
        },
        index=index,
    )
    labels = {name: value.astype(str) for name, value in data.labels.items()}
    adata = anndata.AnnData(
        X=x,
        obs=pd.DataFrame(labels, index=pd.Index(data.samples)),
        var=var,
        layers={"inferred": inferred, "inferred_sd": sd},
        uns={
            "infosem_expression": {
                "method": fitted.method,
                "trained_on": list(fitted.platforms),
                "imputed_inputs": list(ready.imputed),
            }
        },
    )
    if not one_platform:
        adata.obsm["inputs"] = pd.DataFrame(
            ready.x, index=adata.obs_names, columns=pd.Index(fitted.inputs)
        )
    return adata
