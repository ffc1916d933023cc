"""What may be wrong with new samples: logarithms on another scale, and genes without values.

Two facts tell a base: that which was stated, and values that were rounded before the logarithm.
Where neither does, new samples are compared with those of training; samples of other tissues or of
another laboratory are far from these on any scale, so that nothing is said of them.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Num, Shaped

from infosem_jax.data._names import some
from infosem_jax.data.units import BASES, MOST_LOG, evenly

# Of fewer inputs, a tissue may look like another on another scale by chance.
LEAST_MEANS, LEAST_SAMPLES = 10, 20
# Inverse values that steps of a tenth or a hundredth tell apart from any others.
_LOW, _HIGH = 1.0, 20.0
# A sample is on another scale where it is then as near to training as its samples are to each
# other, and now is not, and so many times as far; more is asked of one or two samples.
_NEAR, _FAR, _FAR_FEW = 1.25, 1.5, 2.0
_CURE = (
    "were they normalised as the training data were? --log-base, in the fit and here, states the "
    "base of the logarithms"
)


def rounded_base(x: Num[np.ndarray, "samples genes"]) -> str:
    """Return the base of logarithms of ``1 + v`` where v was rounded, as TPM often are.

    Parameters
    ----------
    x
        Logarithms.

    Returns
    -------
    ``e``, ``2`` or ``10`` if four fifths of all v between 1 and 20, at least ten different ones,
    are multiples of 0.01, and else ``unknown``. No v counts for more than a twentieth.
    """
    part = x.ravel()[:: max(x.size // 200_000, 1)]
    part = part[(part > 0) & (part < np.log2(1 + _HIGH))].astype(np.float64)
    values, count = np.unique(part, return_counts=True)
    for name, base in BASES.items():
        v = np.expm1(values * np.log(base))
        among = (v > _LOW) & (v < _HIGH)
        v, n = 100 * v[among], count[among]
        if len(v) < 10:
            continue
        if np.average(np.abs(v - np.round(v)) < 0.02, weights=np.minimum(n, n.sum() / 20)) >= 0.8:
            return name
    return "unknown"


def unlike_means(
    x: Num[np.ndarray, "samples inputs"],
    means: Float[np.ndarray, " inputs"],
    base: str,
    name: str,
    *,
    told: bool = False,
) -> list[str]:
    """Say whether logarithms would be far nearer to the training means on another scale.

    Other scales are those of another base, and of values with another total; one counts if the
    means of the inputs are then less than a third as far from those of the training, by the median
    over inputs.

    Parameters
    ----------
    x
        Inputs of new samples.
    means
        Mean of each input in training.
    base
        Of the logarithms of training; of an unknown one e and 2 are tried.
    name
        What the samples are called.
    told
        Whether it is known that both have this base, so that only totals may differ.
    """
    if x.shape[1] < LEAST_MEANS:
        return []
    now = float(np.median(np.abs(x.mean(0) - means)))
    off, how = min(
        (float(np.median(np.abs(own.mean(0) - means))), how) for how, own in _forms(x, base, told)
    )
    if off >= now / 3:
        return []
    return [
        f"{name}: the inputs are {now:.3g} from their training means, and {off:.3g} if {how}; "
        f"{_CURE}"
    ]


def unlike_samples(
    x: Num[np.ndarray, "samples inputs"],
    seen: Float[np.ndarray, "seen inputs"],
    base: str,
    name: str,
    *,
    told: bool = False,
) -> list[str]:
    """Say whether logarithms would be like samples of the training on another scale.

    The distance of a sample is the mean absolute difference from the nearest of the training. A
    scale counts for a sample if this is then at most 1.25 times what is usual between training
    samples (the median), and now is more than that and 1.5 times as large (2 where there are one
    or two samples); it is said if it counts for half of the samples.

    Parameters
    ----------
    x
        Inputs of new samples.
    seen
        Inputs of training samples.
    base, name, told
        As of `unlike_means`.
    """
    if x.shape[1] < LEAST_SAMPLES or len(seen) < 20:
        return []
    x, seen = (each[evenly(np.arange(len(each)), most)] for each, most in ((x, 50), (seen, 300)))
    usual = np.median(_nearest(seen, seen, itself=True))
    now, far = _nearest(x, seen), _FAR if len(x) > 2 else _FAR_FEW
    share, how = 0.0, ""
    for other, own in _forms(x, base, told):
        then = _nearest(own, seen)
        counts = (then <= _NEAR * usual) & (now > _NEAR * usual) & (now >= far * then)
        share, how = max((share, how), (float(counts.mean()), other))
    if share < 0.5:
        return []
    return [
        f"{name}: {share:.0%} of the samples are unlike those of the training, and would be "
        f"as like as these are to each other if {how}; {_CURE}"
    ]


def constant_inputs(
    x: Num[np.ndarray, "samples inputs"],
    genes: Shaped[np.ndarray, " inputs"],
    means: Float[np.ndarray, " inputs"],
    deviations: Float[np.ndarray, " inputs"],
    name: str,
) -> list[str]:
    """Say which inputs have one value in all samples, far from all that training had.

    Parameters
    ----------
    x
        Inputs of new samples; of fewer than three nothing is said.
    genes
        Their names.
    means, deviations
        Mean and standard deviation of each input in training; a value is far if it is more than
        three deviations off.
    name
        What the samples are called.
    """
    if len(x) < 3:
        return []
    far = (np.ptp(x, axis=0) == 0) & (np.abs(x[0] - means) > 3 * deviations)
    if not far.any():
        return []
    told = [f"{gene} {value:.3g}" for gene, value in zip(genes[far], x[0, far], strict=True)]
    return [
        f"{name}: {len(told)} of {len(genes)} inputs have one value in all {len(x)} samples, more "
        f"than three standard deviations from their training means: {some(told)}. Were they "
        "measured? If not, leave them out of the file, and --impute sets them to these means"
    ]


def _forms(
    x: Num[np.ndarray, "samples inputs"], base: str, told: bool
) -> Iterator[tuple[str, Float[np.ndarray, "samples inputs"]]]:
    """Yield logarithms on other scales, and how they were brought to them."""
    factors = np.log(2), 1 / np.log(2), np.log(10), 1 / np.log(10), np.log2(10), np.log10(2)
    for factor in () if told else factors:
        yield f"multiplied by {factor:.3g}, as logarithms to another base are", x * factor
    for log in np.log([BASES[base]] if base in BASES else [BASES["e"], BASES["2"]]):
        linear = np.expm1(np.minimum(x, MOST_LOG) * log)
        for factor in (0.01, 0.1, 10.0, 100.0):
            there = np.log1p(np.maximum(factor * linear, -0.99)) / log
            yield f"brought to totals {factor:g} times as large", there


def _nearest(
    x: Num[np.ndarray, "samples inputs"],
    seen: Float[np.ndarray, "seen inputs"],
    *,
    itself: bool = False,
) -> Float[np.ndarray, " samples"]:
    """Return the distance of each sample from the nearest; ``itself`` is left out."""
    found = np.empty(len(x))
    for i, row in enumerate(x):
        distance = np.abs(seen - row).mean(1)
        if itself:
            distance[i] = np.inf
        found[i] = distance.min()
    return found
