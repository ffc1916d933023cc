"""What looks wrong with a fit, in words, each judgement with the number behind it.

The bounds are rules of thumb: they tell where to look, not whether a network is right.
"""

from typing import Literal, NamedTuple

import numpy as np

from infosem_jax.grn import exact
from infosem_jax.grn.networks import candidate_pairs
from infosem_jax.grn.result import Fit, network

Verdict = Literal["fine", "note", "looks wrong"]
STRONGEST = 1000
UNFINISHED = 0.1
OVERFITTED = 0.05
AGREE = 0.5
REPEATED = 0.8
HUBS = 0.5
LEFT = 3.0


class Finding(NamedTuple):
    """One judgement.

    Attributes
    ----------
    topic, verdict
        What was looked at, and whether it looks right.
    what, because, do
        What was found, what may be behind it, what helps; the last two are empty where all is well.
    values
        The numbers behind it.
    """

    topic: str
    verdict: Verdict
    what: str
    because: str = ""
    do: str = ""
    values: dict[str, float] = {}  # noqa: RUF012

    @property
    def sentences(self) -> list[str]:
        """What was found, what may be behind it, and what helps."""
        because = [f"Perhaps because {self.because}."] if self.because else []
        do = [f"What helps: {self.do}."] if self.do else []
        return [self.what, *because, *do]

    def __str__(self) -> str:
        return f"{self.verdict}: {self.topic}. {' '.join(self.sentences)}"


def judged(
    topic: str,
    good: bool,
    what: str,
    because: str,
    do: str,
    values: dict[str, float],
    *,
    otherwise: Verdict = "looks wrong",
) -> Finding:
    """Return a finding that is fine, or looks wrong for a reason and with a remedy.

    Parameters
    ----------
    topic, what, values
        See `Finding`.
    good
        Whether it is fine.
    because, do
        See `Finding`; left out where it is fine.
    otherwise
        The verdict where it is not.
    """
    if good:
        return Finding(topic, "fine", what, values=values)
    return Finding(topic, otherwise, what, because, do, values)


def convergence(fitted: Fit) -> list[Finding]:
    """Judge whether training came to an end, and whether it went too far."""
    found = []
    sound = fitted.diverged < 0
    if not sound.all():
        found.append(
            Finding(
                "training",
                "looks wrong",
                f"{(~sound).sum()} of {len(sound)} seeds diverged and are left out.",
                "the learning rates are too large for these data",
                "lower rate_networks and rate_edges, or clip harder",
            )
        )
    train, held_out = fitted.losses.train[sound], fitted.losses.held_out[sound]
    epochs = train.shape[1]
    if epochs >= 10 and fitted.config.guide != "nuts":
        late = float(np.nanmean(train[:, -1] - train[:, -1 - epochs // 10]))
        whole = float(np.nanmean(train[:, -1] - train[:, 0]))
        share = late / whole if whole < 0 else 0.0
        text = f"The last tenth of the epochs brought {max(share, 0):.0%} of the fall of the loss"
        if whole >= 0:
            found.append(
                Finding(
                    "training",
                    "looks wrong",
                    f"The loss did not fall in {epochs} epochs.",
                    "learning rates are too small or too large, or there are too few epochs",
                    "look at the curve in report.html and change rate_networks and rate_edges",
                    {"fall": -whole},
                )
            )
        else:
            by_design, falling = fitted.config.phase_edges > 0, share > UNFINISHED
            found.append(
                judged(
                    "training",
                    not falling,
                    f"{text}: it was still falling." if falling else f"{text}.",
                    "DeepSEM's recipe stops on the way by design, as edges often rank best there"
                    if by_design
                    else "training ended early",
                    "compare the edges of a run with twice the epochs",
                    {"share_of_fall_in_last_tenth": share},
                    otherwise="note" if by_design else "looks wrong",
                )
            )
    if np.isfinite(held_out).any():
        curve = np.nanmean(held_out, 0)
        best, last, first = np.nanmin(curve), curve[np.isfinite(curve)][-1], np.nanmax(curve)
        lost = float((last - best) / max(first - best, 1e-12))
        found.append(
            judged(
                "held-out cells",
                lost <= OVERFITTED,
                f"{max(lost, 0):.0%} of the gain on held-out cells was lost again by the last "
                "epoch.",
                "the model went on to fit noise",
                "set patience, train for fewer epochs, or take a narrower prior",
                {"held_out_lost": lost},
            )
        )
    return found


def moved(fitted: Fit) -> list[Finding]:
    """Judge whether edges that all start alike have left their start."""
    config = fitted.config
    if config.start != "constant" or config.start_noise == 0:
        return []
    pairs = candidate_pairs(fitted)
    start = 1 / max(len(fitted.genes) - 1, 1) + config.start_noise / 2
    weight = fitted.weight[fitted.diverged < 0][:, pairs]
    ratio = float(np.sqrt(((weight - start) ** 2).mean()) / (config.start_noise / 12**0.5))
    good = fitted.probability is not None or ratio >= LEFT
    what = f"Edges lie {ratio:.1f} times as far from their common start as the noise put there."
    return [
        judged(
            "edges",
            good,
            what if good else f"{what} The ranking is chance for the most part.",
            "there were too few steps at so small a rate: few cells, few epochs",
            "train for more epochs, raise rate_edges, or set start = 'zero' with optimiser 'adam'",
            {"moved_against_start_noise": ratio},
        )
    ]


def agreement(fitted: Fit) -> list[Finding]:
    """Judge how far fits from other random numbers find the same edges."""
    weight = np.abs(fitted.weight[fitted.diverged < 0][:, candidate_pairs(fitted)])
    if len(weight) < 2:
        return [
            Finding(
                "seeds",
                "note",
                "There is one seed only, so how far chance decides is not known"
                + ("; and the guide is a point, so sd is zero." if not fitted.sd.any() else "."),
                do="fit with --seeds 5",
            )
        ]
    count = min(STRONGEST, max(weight.shape[1] // 100, 10))
    top = [set(np.argpartition(row, -count)[-count:]) for row in weight]
    seeds = range(len(top))
    shared = float(np.mean([len(top[i] & top[j]) / count for i in seeds for j in seeds if i < j]))
    return [
        judged(
            "seeds",
            shared >= AGREE,
            f"Two seeds share {shared:.0%} of their {count} strongest edges on average.",
            "the data do not decide among many networks that fit alike, or training ended early",
            "fit more seeds and trust what they share (sign_agreement, sd); train longer",
            {"shared_strongest_edges": shared, "strongest_edges": float(count)},
        )
    ]


def from_prior(fitted: Fit | exact.Fit) -> list[Finding]:
    """Judge how much of the network was in its priors already."""
    pairs, summed = candidate_pairs(fitted), network(fitted)
    if isinstance(fitted, exact.Fit):
        prior, found = fitted.prior_mean[pairs], _borne_out(fitted)
    else:
        prior, found = fitted.prior_mean[fitted.diverged < 0].mean(0)[pairs], []
    weight = np.asarray(summed.weight)[pairs]
    if isinstance(fitted, Fit) and summed.probability is not None:
        gate = np.asarray(summed.probability)[pairs]
        found.append(_explained("prior of edges", "The gates explain", gate, np.abs(weight)))
    if np.ptp(prior) > 1e-6 * np.abs(weight).max():
        what = "The prior of the effects, as learned, explains"
        found.append(_explained("prior of effects", what, prior, weight))
    else:
        what = "It prefers no edge: what ranks effects is expression."
        found.append(Finding("prior of effects", "fine", what))
    return found


def _borne_out(fitted: exact.Fit) -> list[Finding]:
    """Say how far the expression bears out what the prior says of edges."""
    if "trust" not in fitted.learned:
        return []
    trust, strength = (float(np.mean(fitted.learned[name])) for name in ("trust", "strength"))
    return [
        judged(
            "what the prior says",
            trust >= AGREE,
            f"The expression bears out what it says of edges with probability {trust:.2f}; it "
            f"moves the log-odds of an edge by {strength:.2f} per standard deviation of what it "
            "says.",
            "it knows other things than these cells show, or the cells are too few to tell",
            "",
            {"trust": trust, "strength": strength},
            otherwise="note",
        )
    ]


def _explained(topic: str, what: str, prior: np.ndarray, weight: np.ndarray) -> Finding:
    spread = prior.std() * weight.std() > 0
    share = float(np.corrcoef(prior, weight)[0, 1] ** 2) if spread else 0.0
    return judged(
        topic,
        share <= REPEATED,
        f"{what} {share:.0%} of the variance of the weights.",
        "the network repeats its prior, which is narrow, or finds little in the data to move it",
        "widen its scale, and compare with shuffled genes before believing that it helps",
        {"explained_by_prior": share},
    )


def hubs(fitted: Fit | exact.Fit) -> Finding:
    """Judge whether the ranking is about pairs, or about which regulators are strong at all."""
    candidate = candidate_pairs(fitted)
    size = np.where(candidate, np.abs(network(fitted).weight), 0)
    n = candidate.sum(1)
    mean = size.sum(1) / n
    centre = size[candidate].mean()
    spread = ((size[candidate] - centre) ** 2).sum()
    share = float((n * (mean - centre) ** 2).sum() / spread) if spread > 0 else 0.0
    what = f"{share:.0%} of the variance of |weight| lies between regulators."
    return judged(
        "regulators",
        share <= HUBS,
        what if share <= HUBS else f"{what} The list of edges is mostly a list of regulators.",
        "some regulators follow what many genes share, such as cell state, cycle or batch",
        "compare edges within a regulator, not across; add a remainder (rows = 'regulators+8')",
        {"between_regulators": share},
        otherwise="note",
    )
