"""What looks wrong with what a fit says, set against simulations: in words, with the numbers."""

from infosem_jax.calibration.findings import Finding, judged
from infosem_jax.calibration.predictive import Predictive
from infosem_jax.calibration.recalibrate import Recalibration
from infosem_jax.grn.result import Fit

COLLAPSED = 0.05
RELIABLE = 0.05


def judge_predictive(found: Predictive, fitted: Fit) -> list[Finding]:
    """Put the posterior predictive checks into words."""
    measured = found.measured
    mean = {name: float(found.simulated[name].mean()) for name in measured}
    flat = found.explained < COLLAPSED
    yet = "the model reproduces next to nothing of these data" if flat else ""
    first = "see reconstruction first"
    loose = (
        f"z is held to its prior by a weight of {fitted.config.weight_z:g} only, so that cells "
        "drawn from the prior are not like those inferred"
        if fitted.config.weight_z < 1
        else ""
    )
    out = [
        judged(
            "reconstruction",
            not flat,
            f"Reconstructed cells have {max(found.explained, 0):.0%} of the variance measured.",
            "the networks have not learned yet, or z is held to its prior too firmly",
            "train for more epochs or at higher rates, or lower weight_z",
            {"explained": found.explained},
        )
    ]
    ratio = mean["variance"] / measured["variance"]
    out.append(
        judged(
            "variance",
            0.8 <= ratio <= 1.25,
            f"Simulated genes vary {ratio:.2f} times as much as measured ones.",
            yet or loose or "the prior of z or observation_sd do not fit the scale of the data",
            first if flat else "set latent_prior = 'learned', or change observation_sd",
            {"variance_ratio": ratio},
        )
    )
    slope, could = mean["correlation_slope"], measured["correlation_slope"]
    size = mean["correlation_size"] / measured["correlation_size"]
    agree, weak = mean["correlation_agreement"], slope < could
    why = (
        "effects are too small to carry what genes share (a narrow prior, or training that ended "
        "early), or genes share what comes from no regulator (cell state, depth, batch)"
        if weak
        else "effects are too large: loops amplify noise, or the prior is too wide"
    )
    helps = (
        "widen the prior, train longer, or add a remainder (rows = 'regulators+8')"
        if weak
        else "take a narrower prior"
    )
    out.append(
        judged(
            "gene-gene correlations",
            0.5 * could <= slope <= 1.5 * could and agree >= 0.5 * could,
            f"Simulated ones follow measured ones at r = {agree:.2f} with slope {slope:.2f}, where "
            f"as many other cells would reach {could:.2f} for both; they are {size:.2f} times as "
            "large.",
            yet or loose or why,
            first if flat else helps,
            {"correlation_slope": slope, "correlation_agreement": agree, "reachable": could},
        )
    )
    axis = mean["eigenvalue_1"] / measured["eigenvalue_1"]
    weak = axis < 1
    why = (
        "what all genes share (cell state, depth, batch) is not in the model"
        if weak
        else "the model makes genes move together more than they do"
    )
    helps = (
        "normalise by cell (cell_range_zscore), or add a remainder (rows = 'regulators+8')"
        if weak
        else "take a narrower prior"
    )
    out.append(
        judged(
            "main axis of variation",
            0.5 <= axis <= 2,
            f"It carries {mean['eigenvalue_1']:.1%} of the variance of simulated cells, "
            f"{measured['eigenvalue_1']:.1%} of that of measured ones (genes at equal variance).",
            yet or loose or why,
            first if flat else helps,
            {"eigenvalue_ratio": axis},
        )
    )
    return [*out, _judge_zeros(found, mean["zeros"], fitted)]


def _judge_zeros(found: Predictive, zeros: float, fitted: Fit) -> Finding:
    by_gene = found.genes.dropna(subset=["zeros"])
    gap = (
        float((by_gene["zeros"] - by_gene["zeros_simulated"]).abs().mean()) if len(by_gene) else 0.0
    )
    masked = fitted.config.observe == "nonzero"
    return judged(
        "zeros",
        gap <= 0.1,
        f"{found.measured['zeros']:.0%} of the measured values are zeros, {zeros:.0%} of the "
        f"simulated ones would be; genes differ by {gap:.0%} on average.",
        "zeros are not scored (observe = 'nonzero'), and so not modelled"
        if masked
        else "noise is normal here, and dropout is not: a gene with many zeros has two humps",
        "nothing, if zeros are dropout; else score all entries (observe = 'all')"
        if masked
        else "leave out genes that are nearly always zero, or score what was measured only "
        "(observe = 'nonzero')",
        {"zeros_gap": gap},
        otherwise="note" if masked else "looks wrong",
    )


def judge_calibration(found: Recalibration) -> Finding:
    """Put the reliability of edge probabilities on simulations into words."""
    learned = found.scores.loc["recalibrated"]
    told = (
        f"On simulations like these data, average precision is {learned['auprc']:.2f} where "
        f"{learned['base_rate']:.2f} is chance; recalibrated probabilities are off by "
        f"{learned['ece']:.3f} on average, {learned['ece_top']:.3f} for the strongest pairs"
    )
    values = {f"recalibrated_{name}": float(value) for name, value in learned.items()}
    if "stated" not in found.scores.index:
        return Finding(
            "edge probabilities",
            "note",
            f"The model states none, for want of an edge prior. {told}.",
            do="infosem_jax.calibration.recalibrate gives the network probabilities",
            values=values,
        )
    stated = found.scores.loc["stated"]
    values |= {f"stated_{name}": float(value) for name, value in stated.items()}
    return judged(
        "edge probabilities",
        stated["ece"] <= RELIABLE and stated["ece_top"] <= 2 * RELIABLE,
        f"{told}; stated ones by {stated['ece']:.3f} and {stated['ece_top']:.3f}.",
        "gates start from the prior, and the guide takes them for surer or less sure than they are",
        "read the ranking, or recalibrate with infosem_jax.calibration.recalibrate",
        values,
    )
