"""What the benchmark of networks has to know of a method."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from infosem_jax.grn.baselines.problem import Problem, Scores

Uses: TypeAlias = Literal["expression", "labels"]


class Method(NamedTuple):
    """A way to score pairs, and what the benchmark has to know about it.

    Attributes
    ----------
    solve
        Scores problems, several at once; one matrix each, or several read-outs of one fit by name
        ("" for the main one).
    uses
        ``labels`` is solved for every network, split and seed; ``expression`` once for every data
        set and seed, for all networks and splits.
    knows_names
        Whether gene names tell it something that it was not given, such as their spelling.
    random
        Whether the seed changes its scores.
    about
        What it is, in a sentence.
    settings
        What it was set to; a run goes on only with the same.
    needs
        Embeddings that it cannot do without; it is left out where data have none of that name.
    elsewhere
        Whether it needs the networks of other data sets: ``alone``, in the split ``transfer`` only,
        or ``beside`` labels, in all other splits; it is left out where there are none.
    tested
        Whether it is known to know no more than it is given, so that a run need not look again.
    """

    solve: Callable[[Sequence[Problem]], Iterable[Scores | Mapping[str, Scores]]]
    uses: Uses = "expression"
    knows_names: bool = False
    random: bool = True
    about: str = ""
    settings: Mapping[str, str | int | float | bool] = {}
    needs: tuple[str, ...] = ()
    elsewhere: Literal["", "alone", "beside"] = ""
    tested: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """What a run goes on with only if it is the same."""
        return {"uses": self.uses, "random": self.random, **self.settings}
