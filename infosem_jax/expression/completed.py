"""What users of a model get: how far each gene can be trusted, and samples made complete."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from infosem_jax.expression.metrics import gene_table
from infosem_jax.expression.profiles import Profiles
from infosem_jax.expression.saved import Model, Ready, predict
from infosem_jax.expression.task import Prediction, Problem, unscale

if TYPE_CHECKING:
    import anndata

TRUST = ("pearson", "recall", "sd")
# Of a normal distribution, 90 % lie within so many standard deviations.
NINETY = 1.6448536


def trust_table(problem: Problem, prediction: Prediction) -> pd.DataFrame:
    """Say of each gene how well it was inferred in the test samples.

    Parameters
    ----------
    problem
        Holds the truth of the test samples.
    prediction
        Of these samples, in units of the data.

    Returns
    -------
    Columns ``gene, pearson, spearman, r2, mae, recall, best`` as in
    :func:`~infosem_jax.expression.metrics.gene_table`; ``sd``, the mean of the stated standard
    deviations, and ``within_90``, the share of samples whose truth lies within 1.64 of them: about
    0.9 where deviations mean what they say. Errors are in units of the data.
    """
    truth = unscale(Prediction(problem.y_test), problem.y_scaling).mean
    train = unscale(Prediction(problem.task.y_train), problem.y_scaling).mean
    table = gene_table(truth, prediction.mean, problem.task.targets, train)
    if prediction.sd is None:
        return table.assign(sd=np.nan, within_90=np.nan)
    within = np.abs(truth - prediction.mean) <= NINETY * prediction.sd
    return table.assign(sd=prediction.sd.mean(0), within_90=within.mean(0))


def complete(
    model: Model, profiles: Profiles, ready: Ready, trust: pd.DataFrame
) -> "anndata.AnnData":
    """Infer what was not measured, and keep what was.

    Parameters
    ----------
    model
        The fitted model.
    profiles
        New samples.
    ready
        The same in the form that the model needs (`saved.prepare`).
    trust
        Table of `trust_table`.

    Returns
    -------
    Samples x (targets, then all other genes of the samples and the inputs). ``X`` holds what was
    measured, and elsewhere what was inferred; of a model from one platform to another it holds
    inferred values only, of the targets only, and the inputs are in ``obsm["inputs"]``. Layers
    ``inferred`` and ``inferred_sd`` are NaN where a gene is no target. Columns of ``var``:
    ``is_input``, ``is_target``, ``is_measured``, ``is_imputed`` (inputs at their training means)
    and those of the trust table that say how far to trust a gene.
    """
    import anndata

    found = predict(model, ready.x, ready.covariate)
    one_platform = model.platforms[0] == model.platforms[1]
    kept = (*profiles.genes, *model.inputs) if one_platform else ()
    genes = list(dict.fromkeys((*model.targets, *kept)))
    place = {gene: i for i, gene in enumerate(genes)}
    n, n_targets = len(profiles.samples), len(model.targets)
    inferred, sd = (np.full((n, len(genes)), np.nan, np.float32) for _ in range(2))
    inferred[:, :n_targets] = found.mean
    if found.sd is not None:
        sd[:, :n_targets] = found.sd
    x = inferred.copy()
    if one_platform:
        x[:, [place[gene] for gene in model.inputs]] = ready.x
        x[:, [place[gene] for gene in profiles.genes]] = profiles.x
    index = pd.Index(genes)
    rated = trust.set_index("gene").reindex(index)
    var = pd.DataFrame(
        {
            "is_input": index.isin(model.inputs),
            "is_target": index.isin(model.targets),
            "is_measured": index.isin(profiles.genes),
            "is_imputed": index.isin(ready.imputed),
            **{column: rated[column].to_numpy() for column in TRUST if column in rated},
        },
        index=index,
    )
    labels = {name: value.astype(str) for name, value in profiles.labels.items()}
    adata = anndata.AnnData(
        X=x,
        obs=pd.DataFrame(labels, index=pd.Index(profiles.samples)),
        var=var,
        layers={"inferred": inferred, "inferred_sd": sd},
        uns={
            "infosem_expression": {
                "method": model.method,
                "trained_on": list(model.platforms),
                "imputed_inputs": list(ready.imputed),
            }
        },
    )
    if not one_platform:
        adata.obsm["inputs"] = pd.DataFrame(
            ready.x, index=adata.obs_names, columns=pd.Index(model.inputs)
        )
    return adata
