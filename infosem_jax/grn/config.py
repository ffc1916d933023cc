"""Every choice of a fit, with a name and a default."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

import optax

from infosem_jax._settings import hint
from infosem_jax.data.dataset import Normalisation

Guide = Literal["point", "normal", "lowrank", "nuts", "own"]
Decoder = Literal["network", "identity"]
Start = Literal["constant", "zero", "prior"]
Observe = Literal["all", "nonzero"]
LatentPrior = Literal["standard", "learned"]
Absorbed = Literal["both", "location"]
Divergence = Literal["analytic", "sampled"]
Optimiser = Literal["rmsprop", "adam", "own"]
Precision = Literal["float32", "bfloat16"]

# Guides that leave draws instead of parameters.
OF_DRAWS = ("nuts", "own")


@dataclass(frozen=True)
class Config:
    """Settings of an InfoSEM fit; the defaults are DeepSEM's recipe for non-specific networks.

    Attributes
    ----------
    rows
        Which genes act: ``all``, ``regulators`` or ``regulators+K`` with a remainder of rank K.
    guide
        ``point`` estimates effect and gate (as the papers do); ``normal`` gives each entry a
        mean-field normal posterior; ``lowrank`` gives all entries a joint normal one with
        covariance ``D + F F^T``; ``nuts`` draws from the exact posterior, for small problems. Or an
        own guide: any function of the model of the edges (see
        ``infosem_jax.grn.edge_guides.EdgeModel``) that returns an AutoGuide, as its class does, or
        that declares all sites of that model itself. It starts where it says, such as with
        ``init_loc_fn=init_to_median`` near the prior. A fit keeps its draws, and records it as
        ``own``.
    guide_draws
        Draws that are kept of an own guide.
    low_rank
        Rank K of F in guide ``lowrank``.
    nuts_warmup, nuts_draws
        Transitions of guide ``nuts`` that adapt and are forgotten, and that are kept; each seed is
        one chain.
    nuts_unknowns
        Most unknown numbers that guide ``nuts`` takes on.
    decoder
        ``network`` learns how states become expression; with ``identity`` expression is the state
        plus noise, which with latent prior ``standard`` is the linear-Gaussian model.
    normalisation, clip
        How expression is brought to scale, see `infosem_jax.data.normalise`; ``auto`` goes by
        what the values look like.
    observe
        Score the reconstruction on ``all`` entries or on those measured as ``nonzero``.
    observation_sd
        Standard deviation of x around its reconstruction; sqrt(1/2) turns it into a squared error.
    latent_prior
        Prior of z: ``standard`` normal, or ``learned`` mean and variance per gene (DeepSEM).
    absorbed
        Whether the structural layer acts on the encoder's location only, or on ``both`` location
        and log-variance (DeepSEM).
    encoder_offset
        Start the encoder with random biases in its first layer, as DeepSEM does by feeding it a
        constant beside x; without them it starts as an odd function of x, as DAZZLE's does.
    hidden, knots
        Width of the scalar networks; knots of their table (0: evaluate them directly).
    start, start_noise
        Start of the effects: ``constant`` 1/(genes - 1) plus U(0, start_noise) (DeepSEM), ``zero``
        plus that noise, or the mean of the ``prior``.
    start_scale
        Start of the posterior standard deviations of guides ``normal`` and ``lowrank``, relative to
        1/(genes - 1) for effects, and to 1 for logits.
    weight_z, weight_effect, weight_logit
        Weight of each site's divergence in the objective; 1 is the evidence bound, 0 ignores the
        prior (logits still start at its mean).
    divergence
        Divergences in ``analytic`` form where there is one, or ``sampled`` at the draw of the guide
        (DeepSEM); the same on average, with less or more noise in the gradient.
    anneal_epochs
        Epochs over which those weights rise from 0.
    epochs, batch_size
        Passes over the cells and cells per step.
    phase_networks, phase_edges
        Epochs of each phase of the alternation between the networks and the edges; 0, 0 trains
        all parameters together.
    optimiser
        Step rule of networks and effects, by name or any optax transformation, which has learning
        rates of its own and is recorded as ``own``; logits and what priors learn are always trained
        by Adam.
    rate_networks, rate_edges, rate_priors
        Learning rates of the networks, of the effects, and of logits and what priors learn.
    decay
        Factor by which ``rate_networks`` shrinks each epoch.
    held_out
        Share of the cells kept out of training to score the evidence bound on.
    precision
        Of the factors of the products with W: ``bfloat16`` is several times faster on accelerators
        and slower on most CPUs. Sums, solves and everything else stay float32.
    patience
        Stop after so many epochs without a better held-out bound, and keep the best; 0 trains on.
    """

    rows: str = "all"
    guide: Guide | Callable[..., Any] = "point"
    guide_draws: int = 200
    low_rank: int = 8
    nuts_warmup: int = 500
    nuts_draws: int = 500
    nuts_unknowns: int = 5000
    decoder: Decoder = "network"
    normalisation: Normalisation = "auto"
    clip: float = 10.0
    observe: Observe = "all"
    observation_sd: float = 0.5**0.5
    latent_prior: LatentPrior = "learned"
    absorbed: Absorbed = "both"
    encoder_offset: bool = True
    hidden: int = 128
    knots: int = 256
    start: Start = "constant"
    start_noise: float = 2e-4
    start_scale: float = 0.1
    weight_z: float = 1.0
    weight_effect: float = 1.0
    weight_logit: float = 1.0
    divergence: Divergence = "analytic"
    anneal_epochs: int = 0
    epochs: int = 90
    batch_size: int = 64
    phase_networks: int = 1
    phase_edges: int = 2
    optimiser: Optimiser | optax.GradientTransformation = "rmsprop"
    rate_networks: float = 1e-4
    rate_edges: float = 2e-5
    rate_priors: float = 1e-3
    decay: float = 1.0
    held_out: float = 0.0
    patience: int = 0
    precision: Precision = "float32"

    def __post_init__(self):
        for field, kind in get_type_hints(type(self)).items():
            value = getattr(self, field)
            if not isinstance(value, optax.GradientTransformation) and not callable(value):
                _check_type(field, value, kind)
        remainder_rank(self.rows)
        for field in (
            *("hidden", "epochs", "batch_size", "observation_sd", "clip", "start_scale"),
            *("low_rank", "guide_draws", "nuts_warmup", "nuts_draws", "nuts_unknowns"),
        ):
            _check(getattr(self, field) > 0, field, "positive", getattr(self, field))
        for field in (
            *("rate_networks", "rate_edges", "rate_priors", "weight_z", "weight_effect"),
            *("weight_logit", "start_noise", "anneal_epochs", "patience"),
            *("phase_networks", "phase_edges"),
        ):
            _check(getattr(self, field) >= 0, field, "at least 0", getattr(self, field))
        _check(self.knots == 0 or self.knots >= 2, "knots", "0 or at least 2", self.knots)
        _check(0 <= self.held_out < 1, "held_out", "in [0, 1)", self.held_out)
        _check(0 < self.decay <= 1, "decay", "in (0, 1]", self.decay)
        _check(
            self.patience == 0 or self.held_out > 0,
            "patience",
            "0 unless held_out > 0, as stopping needs held-out cells",
            self.patience,
        )


def deepsem(network: Literal["non-specific", "cell-type-specific"], **changes: Any) -> Config:
    """Return DeepSEM's recipe for one kind of network.

    For non-specific networks: z-scores, all entries scored, weight 1 on z; fit it with
    ``priors.MeanAbsolute(100, rows=None)``. For cell-type-specific ones: non-zero z-scores,
    non-zero entries scored, weight 0.01 on z; with ``priors.MeanAbsolute(1, rows=None)``, or 0.1 on
    hESC. Source: DeepSEM, Hyperparameter.MD and Model.py.

    Parameters
    ----------
    network
        Which of the two.
    changes
        Settings to replace.
    """
    if network == "non-specific":
        return replace(Config(normalisation="zscore"), **changes)
    specific = Config(normalisation="zscore_nonzero", observe="nonzero", weight_z=0.01, epochs=120)
    return replace(specific, **changes)


def converged(**changes: Any) -> Config:
    """Return the recipe that trains everything together to convergence, rows for regulators only.

    Adam from zero at 3e-3, no alternation. It suits small data, where DeepSEM's 2e-5 a step moves
    nothing, and clean ones; on single-cell data with hundreds of cells `deepsem` ranks edges better
    (see README). Pass a prior with a scale of its own, such as ``priors.Normal(0.05)``: the default
    penalty is meant for DeepSEM's unfinished optimisation and silences a finished one.

    Parameters
    ----------
    changes
        Settings to replace.
    """
    recipe = Config(
        rows="regulators",
        start="zero",
        epochs=150,
        phase_networks=0,
        phase_edges=0,
        optimiser="adam",
        rate_networks=3e-3,
        rate_edges=3e-3,
        rate_priors=3e-3,
    )
    return replace(recipe, **changes)


def from_dict(settings: dict[str, Any], base: Any = None) -> Any:
    """Build settings from a mapping, such as a TOML file's.

    Parameters
    ----------
    settings
        Settings by name.
    base
        Settings that are not named, of either engine; None takes the defaults of svi.

    Raises
    ------
    ValueError
        On an unknown key, naming the nearest valid one, or a value out of range.
    """
    base = Config() if base is None else base
    known = [field.name for field in fields(base)]
    for key in settings:
        if key not in known:
            raise ValueError(f"Unknown setting {key!r}; {hint(key, known)}")
    return replace(base, **settings)


def recorded(config: Config) -> Config:
    """Return settings as files hold them: what was made in Python is ``own``."""
    made = {
        name: "own" for name in ("guide", "optimiser") if not isinstance(getattr(config, name), str)
    }
    return replace(config, **made)


def remainder_rank(rows: str) -> int:
    """Return K of ``regulators+K``, 0 for the other kinds of rows.

    Raises
    ------
    ValueError
        If ``rows`` is none of them.
    """
    head, plus, rank = rows.partition("+")
    if rows in ("all", "regulators"):
        return 0
    if head == "regulators" and plus and rank.isdecimal() and int(rank) > 0:
        return int(rank)
    raise ValueError(f"rows: expected all, regulators or regulators+K (K > 0), found {rows!r}.")


def _check(ok: bool, field: str, expected: str, found: object) -> None:
    if not ok:
        raise ValueError(f"{field}: expected {expected}, found {found!r}.")


def _check_type(field: str, value: object, kind: Any) -> None:
    choices = get_args({"guide": Guide, "optimiser": Optimiser}.get(field, kind))
    if choices:
        _check(value in choices, field, f"one of {', '.join(map(str, choices))}", value)
    elif kind is float:
        _check(
            isinstance(value, int | float) and not isinstance(value, bool), field, "a number", value
        )
    else:
        _check(type(value) is kind, field, f"a value of type {kind.__name__}", value)
