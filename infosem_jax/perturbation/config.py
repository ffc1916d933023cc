"""Settings of a fit, and of the network with the fixed contexts that it is compared with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from infosem_jax._settings import check


@dataclass(frozen=True)
class Config:
    """Settings of a fit.

    Attributes
    ----------
    method
        One of ``methods.METHODS``.
    split
        Which perturbations are held out for the test, see `infosem_jax.perturbation.draw_splits`;
        it must not have several folds. ``auto`` takes what suits the data, and ``none`` learns from
        all.
    settings
        Settings of the method that differ from its usual ones, by name; see `AdaPertConfig`.
    """

    method: str = "adapert"
    split: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AdaPertConfig:
    """Settings of AdaPert's network; defaults marked "open" stand for what the paper does not say.

    Attributes
    ----------
    features, heads, layers
        Features of a node, heads and layers of graph attention; the paper has 128, 2 and 4.
    top
        Edges into each node at most; 0 keeps all. The paper finds 10 best.
    context
        Nodes that a prediction uses. ``hops``: all within ``hops``. ``adaptive``, as published:
        those that the selector chooses of them, which gained nothing on held-out perturbations.
        ``node``: the perturbed genes' own nodes, after messages over the whole graph. ``full``: all
        nodes. ``none``: nothing, so no graph.
    hops, most
        How far candidates are, and how many there are at most, nearest first; the paper has up
        to 4 hops.
    pooling
        ``attention``, the mean of the selected nodes weighted by the selector's score, or ``sum``.
    threshold
        Nodes with a score above it are selected after training: ``fixed`` at ``cut``, or
        ``learned`` from there. Both exist in the sources.
    cut
        0.1 was the best of 0.05 to 0.2.
    start
        Score of every candidate before training; at the cut, so that training decides (open).
    temperature
        Of the Gumbel-softmax in training (open).
    text
        Whether texts enter nodes, selector and decoder.
    combine
        ``concat`` of control, context and perturbation, or ``add`` of control and context, as
        TxPert does.
    tied
        Whether responding genes are also placed by their own nodes, so that genes near to each
        other respond in the same way (open; an addition).
    base
        What the network adds to. It learns what the ``mean`` response of training perturbations
        leaves; with ``neighbours`` a share of it is then added to the response of the most similar
        perturbations, of values joined with the effects of the perturbed genes (an addition).
        Learning what these leave lost on held-out perturbations.
    added, plain
        In tables of signs, this share, and that of neighbours counted gene by gene (the others
        count similar genes too), where held-out perturbations do not tell otherwise, see
        ``joining`` (an addition). A quarter counted gene by gene was no better there than none, by
        one standard error. Of values the network is then left out.
    decoder
        ``joint`` for all genes, or ``genewise``, GEARS's: a gene's vector, averaged with those of
        genes of correlated responses in training, plus the perturbation's, through weights of the
        gene.
    focus
        Power of the absolute error of values, and so how much large ones count; GEARS has 4.
    direction
        Weight of the loss on wrong signs of predicted changes, which are taken softly; GEARS
        has 0.1.
    latent, hidden
        Sizes of the control's code and of the decoder; the paper has 64 and 512.
    likelihood
        Whether values have a deviation of their own per gene and perturbation.
    change_non, change_align
        Weights of the loss on predicted changes of genes that do not change (Huber), and of the
        alignment of the context with the response's main components (open).
    components
        Number of these components (open).
    dropout
        Share of hidden values, attention weights and text features dropped in training.
    weight_decay
        Half of it times the square of all parameters is added to the loss.
    rate, batch_size, epochs
        Adam's learning rate, perturbations per step, and epochs at most.
    held_out, patience
        Share of training perturbations that each member keeps for early stopping, and after how
        many epochs without a gain it stops; 0 trains all epochs on all.
    members
        Networks that differ by random numbers and held-out perturbations, averaged.
    """

    features: int = 32
    heads: int = 2
    layers: int = 2
    top: int = 10
    context: Literal["adaptive", "hops", "node", "full", "none"] = "hops"
    hops: int = 2
    most: int = 256
    pooling: Literal["attention", "sum"] = "attention"
    threshold: Literal["fixed", "learned"] = "fixed"
    cut: float = 0.1
    start: float = 0.1
    temperature: float = 0.5
    text: bool = True
    combine: Literal["concat", "add"] = "concat"
    tied: bool = True
    base: Literal["mean", "neighbours"] = "neighbours"
    added: float = 0.2
    plain: float = 0.0
    decoder: Literal["joint", "genewise"] = "joint"
    focus: float = 2.0
    direction: float = 0.0
    latent: int = 32
    hidden: int = 128
    likelihood: bool = True
    change_non: float = 0.1
    change_align: float = 0.1
    components: int = 16
    dropout: float = 0.3
    weight_decay: float = 1e-4
    rate: float = 3e-3
    batch_size: int = 128
    epochs: int = 40
    held_out: float = 0.15
    patience: int = 12
    members: int = 2

    def __post_init__(self):
        counts = ("features", "heads", "layers", "hops", "most", "latent", "hidden", "components")
        sizes = ("top", "change_non", "change_align", "weight_decay", "rate", "patience", "added")
        shares = ("dropout", "held_out", "cut")
        check(
            self,
            least={
                1: (*counts, "batch_size", "epochs", "members", "focus"),
                0: (*sizes, *shares, "direction", "plain"),
            },
            above={0: ["start", "temperature"]},
            below={1: (*shares, "start")},
        )
        if self.plain > 1:
            raise ValueError(f"plain: expected a share of at most 1, found {self.plain}.")
        if self.features % self.heads:
            raise ValueError(
                f"features: expected a multiple of heads, found {self.features} and {self.heads}."
            )


DEFAULT = Config()
ADAPERT = AdaPertConfig()
# Sizes as published; what is not known of the paper stays at its default.
PAPER = AdaPertConfig(
    context="adaptive", features=128, layers=4, hops=4, most=2048, latent=64, hidden=512,
    tied=False, batch_size=64, rate=1e-3, weight_decay=0.0, epochs=200, members=1,
)  # fmt: skip
