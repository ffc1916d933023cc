"""Grids: every fit is the one that `fit` makes alone, in as few programs as promised."""

import logging
from dataclasses import replace
from itertools import product

import anndata as ad
import jax
import numpy as np
import pandas as pd
import pytest
from compilations import compilations

from infosem_jax.data import simulate as simulation
from infosem_jax.data.dataset import Dataset, dataset, normalise
from infosem_jax.data.stream import open_stream
from infosem_jax.engine import training
from infosem_jax.engine.types import Progress
from infosem_jax.grn import prepare
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit, fit_many
from infosem_jax.grn.prepare import Job
from infosem_jax.grn.priors import GraphPrior, KnownEdges, Normal
from infosem_jax.grn.priors.binding import Priors, as_priors
from infosem_jax.grn.result import Fit

SLOW = Config(
    rows="regulators",
    normalisation="zscore",
    hidden=5,
    knots=0,
    epochs=40,
    batch_size=10,
    start="zero",
    phase_networks=0,
    phase_edges=0,
    optimiser="adam",
    rate_networks=1e-3,
    rate_edges=1e-3,
    held_out=0.2,
    patience=4,
)
FAST = replace(SLOW, rate_networks=0.1, rate_edges=0.05, weight_effect=0.5, decay=0.9)
# How states are absorbed is compiled in; rates and weights are not.
CONFIGS = {"slow": SLOW, "fast": FAST, "static": replace(SLOW, absorbed="location")}
SEEDS = 2
# Held-out cells and steps differ: 9 and 4 of 46 cells, 11 and 5 of 56.
SMALL, LARGE = 46, 56


def simulated(cells: int, seed: int, prefix: str = "") -> tuple[Dataset, pd.DataFrame]:
    """Return data and known edges whose names begin with a prefix."""
    settings = simulation.SimulationConfig(genes=10, regulators=4, cells=cells, mean_in_degree=2)
    made = simulation.simulate(settings, seed=seed)
    known = made.known.assign(**{c: prefix + made.known[c] for c in ("source", "target")})
    names, acting = ([prefix + name for name in part] for part in made.data[2:5:2])
    return dataset(made.data.x, names, acting, name=f"data{seed}"), known


MADE = [simulated(SMALL, 0), simulated(LARGE, 1), simulated(LARGE, 2, prefix="other")]
DATA = dict(zip(("small", "large", "other"), (data for data, _ in MADE), strict=True))
KNOWN = pd.concat([known for _, known in MADE]).drop_duplicates(["source", "target"])
KNOWN = KNOWN.reset_index(drop=True)


def flipped(known: pd.DataFrame) -> pd.DataFrame:
    return known.assign(label=1 - known["label"])


def priors(known: pd.DataFrame = KNOWN) -> dict:
    return {
        "normal": Normal(0.1),
        "known": Priors(Normal(0.1), KnownEdges(known)),
        "flipped": {"effect": Normal(0.1), "edge": KnownEdges(flipped(KNOWN))},
    }


# Jobs that are of no use here, to save a compilation.
SKIPPED = [Job(data, prior, "static") for data in DATA for prior in ("known", "flipped")]


class Grid:
    """All that a run of the whole grid gave and did."""

    def __init__(self, datasets=DATA, given=None, configs=CONFIGS, **options):
        self.progress: list[Progress] = []
        options = {"seeds": SEEDS, "on_chunk": self.progress.append, "skip": SKIPPED} | options
        with compilations() as self.compiled:
            made = list(fit_many(datasets, given or priors(), configs=configs, **options))
        self.order = [job for job, _ in made]
        self.fits = dict(made)


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


def same(a: Fit, b: Fit) -> bool:
    """Compare two fits to the bit; a fit out of patience may wait for others of its program."""
    n = min(a.losses.train.shape[1], b.losses.train.shape[1])
    parts = [
        (*f[5:10], f.diverged, f.params, f.losses.train[:, :n], f.losses.held_out[:, :n])
        for f in (a, b)
    ]
    pairs = zip(*map(jax.tree.leaves, parts), strict=True)
    return all(x.tobytes() == y.tobytes() for x, y in pairs)


ALONE = [("small", "normal", "slow"), ("large", "known", "fast"), ("other", "flipped", "fast")]
MORE = [("small", "normal", "fast"), ("small", "normal", "static"), ("large", "known", "slow")]


@pytest.mark.parametrize(
    "job",
    [
        *(pytest.param(job, id="/".join(job)) for job in ALONE),
        *(pytest.param(job, id="/".join(job), marks=pytest.mark.slow) for job in MORE),
    ],
)
def test_every_fit_is_the_one_made_alone(grid, job):
    data, prior, setting = job
    effect, edge, _ = as_priors(priors()[prior])
    alone = fit(DATA[data], effect, edge, config=CONFIGS[setting], seeds=SEEDS)
    fitted = grid.fits[Job(*job)]
    # A CPU computes one fit at a time, whatever follows; elsewhere products are shared, and summed
    # in another order.
    if jax.devices()[0].platform == "cpu":
        assert same(fitted, alone)
    np.testing.assert_allclose(fitted.weight, alone.weight, rtol=1e-3, atol=1e-5)
    assert np.abs(alone.weight).max() > 1e-3
    assert fitted[:5] == alone[:5]


def test_all_points_of_the_grid_differ(grid):
    assert set(grid.fits) == {
        Job(*at) for at in product(DATA, priors(), CONFIGS) if Job(*at) not in SKIPPED
    }
    weights = [fitted.weight.tobytes() for fitted in grid.fits.values()]
    assert len(set(weights)) == len(weights)
    for job, fitted in grid.fits.items():
        data = DATA[job.data]
        assert (fitted.genes, fitted.regulators) == (data.genes, data.regulators)
        assert fitted.name == data.name
        assert fitted.config == CONFIGS[job.setting]
        assert fitted.weight.shape == (SEEDS, 4, 10)
        assert (fitted.probability is None) == (job.prior == "normal")
        assert (fitted.diverged == -1).all()


def test_a_group_is_one_program_and_the_next_grid_needs_none(grid):
    assert len(prepare.groups(DATA, priors(), CONFIGS)) == 4
    for name in ("run_chunk", "init", "moments"):
        assert grid.compiled.count(name) == 3
    again = {
        name: simulated(len(d.cells), seed + 7)[0] for seed, (name, d) in enumerate(DATA.items())
    }
    configs = {
        name: replace(config, rate_edges=2e-3, weight_z=0.7) for name, config in CONFIGS.items()
    }
    known = pd.concat([simulated(SMALL, seed + 7)[1] for seed in range(3)])
    known = known.drop_duplicates(["source", "target"]).reset_index(drop=True)
    given = {"normal": Normal(0.3)} | {
        name: Priors(Normal(0.2), KnownEdges(known)) for name in ("known", "flipped")
    }
    other = Grid(again, given, configs, key=5)
    assert other.compiled == []
    assert list(other.fits) == grid.order


def members(made) -> list[set[tuple[str, ...]]]:
    return [set(map(tuple, group.jobs)) for group in made]


def test_what_shares_a_program():
    configs = CONFIGS | {
        "longer": replace(SLOW, epochs=41),
        "wider": replace(SLOW, hidden=6),
        "batches": replace(SLOW, batch_size=11),
        "weights": replace(SLOW, weight_logit=0.1, rate_priors=0.1),
    }
    made = prepare.groups({"small": DATA["small"]}, {"": None}, configs)
    together = {("small", "", name) for name in ("slow", "fast", "weights")}
    alone = [{("small", "", name)} for name in ("static", "longer", "wider", "batches")]
    assert members(made) == [together, *alone]
    # Priors share where only their numbers differ (a graph is one of scales); others do not.
    kinds = {"a": Normal(0.1), "b": Normal(0.2), "graph": GraphPrior(KNOWN), "none": None}
    made = prepare.groups(DATA, priors() | kinds, {"": SLOW})
    assert [{job[1] for job in jobs} for jobs in members(made)] == [
        {"normal", "a", "b", "graph"},
        {"known", "flipped"},
        {"none"},
    ]
    assert all({job[0] for job in jobs} == set(DATA) for jobs in members(made))


def test_data_sets_share_a_program_where_their_steps_are_about_as_many():
    many = {str(cells): simulated(cells, 0)[0] for cells in (100, SMALL, LARGE, 95)}
    many["wide"] = dataset(
        np.eye(60, 11) + 0.3 * (np.arange(60)[:, None] % 3 + 1), list("abcdefghijk"), ["a"]
    )
    made = prepare.groups(many, {"": None}, {"": SLOW})
    assert members(made) == [
        {("46", "", ""), ("56", "", "")},
        {("95", "", ""), ("100", "", "")},
        {("wide", "", "")},
    ]
    assert [group.schedule.steps for group in made] == [5, 8, 5]
    assert [group.schedule.held_out for group in made] == [11, 20, 12]


def test_order_and_names_do_not_matter(grid):
    rng = np.random.default_rng(0)
    moved = {}
    for name, data in reversed(DATA.items()):
        order = rng.permutation(len(data.cells))
        cells = [data.cells[i] for i in order]
        moved[f"{name} moved"] = dataset(data.x[order], data.genes, data.regulators, cells=cells)
    skip = [job._replace(data=f"{job.data} moved") for job in SKIPPED]
    given = dict(reversed(priors().items())), dict(reversed(CONFIGS.items()))
    other = Grid(moved, *given, skip=skip)
    assert other.compiled == []
    for job, fitted in grid.fits.items():
        assert same(other.fits[job._replace(data=f"{job.data} moved")], fitted)


def test_a_fit_that_diverges_is_marked_and_harms_no_other(grid, caplog):
    absurd = CONFIGS | {"fast": replace(FAST, rate_networks=1e30, rate_edges=1e30)}
    with caplog.at_level(logging.WARNING, logger="infosem_jax"):
        other = Grid(configs=absurd)
    assert other.compiled == []
    assert other.order == grid.order
    for job, fitted in other.fits.items():
        if job.setting == "fast":
            assert (fitted.diverged >= 0).all()
            assert np.isnan(fitted.losses.train[:, -1]).all()
        else:
            assert same(fitted, grid.fits[job])
    warned = [record.getMessage() for record in caplog.records if record.name == "infosem_jax"]
    assert len(warned) == 9
    assert all("2 of 2 seeds diverged" in message for message in warned)


def test_labels_reach_their_own_job_only(grid):
    """Both label sets are stacked in one program; a change of one leaves the other's fits alone."""
    edge = KNOWN["source"].isin(DATA["small"].regulators)
    assert 0 < edge.sum() < len(KNOWN)
    changed = KNOWN.copy()
    changed.loc[edge, "label"] = 1 - changed.loc[edge, "label"]
    other = Grid(given=priors(changed))
    differ = {job for job, fitted in other.fits.items() if not same(fitted, grid.fits[job])}
    # The genes of `other` have names of their own, which none of the changed pairs joins.
    assert differ == {job for job in grid.fits if job.prior == "known" and job.data != "other"}
    only = other.fits[Job("small", "known", "slow")].probability
    assert np.abs(only - grid.fits[Job("small", "known", "slow")].probability).max() > 1e-3


def test_expression_reaches_its_own_job_only(grid):
    x = DATA["large"].x.copy()
    x[3] += 1
    other = Grid(DATA | {"large": DATA["large"]._replace(x=x)})
    differ = {job for job, fitted in other.fits.items() if not same(fitted, grid.fits[job])}
    assert differ == {job for job in grid.fits if job.data == "large"}


def test_patience_is_each_fits_own(grid):
    """Quick fits stop early and keep their best, though their program runs on for slow ones."""
    waited = False
    for job, fitted in grid.fits.items():
        held_out = fitted.losses.held_out
        assert np.isfinite(held_out).all()
        if job.setting != "fast":
            continue
        for seed in range(SEEDS):
            best = 0
            for epoch, loss in enumerate(held_out[seed]):
                if epoch - best > SLOW.patience:
                    break
                best = epoch if loss < held_out[seed, best] else best
            waited |= best + SLOW.patience < held_out.shape[1] - 1
    assert waited


def test_skipped_jobs_are_left_out_and_their_groups_not_trained(grid):
    jobs = members(prepare.groups(DATA, priors(), CONFIGS))
    one = Job("small", "normal", "slow")
    assert tuple(one) in jobs[0]
    other = Grid(skip=[*(job for job in grid.order if job.setting != "static"), *SKIPPED])
    assert {progress.total for progress in other.progress} == {SLOW.epochs * static(jobs)}
    other = Grid(skip=[*(Job(*job) for part in jobs[1:] for job in part), one])
    assert other.compiled == []
    assert other.order == [job for job in grid.order if tuple(job) in jobs[0] and job != one]
    assert all(same(fitted, grid.fits[job]) for job, fitted in other.fits.items())
    assert {progress.total for progress in other.progress} == {SLOW.epochs * len(jobs[0])}
    assert Grid(skip=[*grid.order, *SKIPPED]).progress == []


def static(jobs: list[set[tuple[str, ...]]]) -> int:
    return next(len(part) for part in jobs if ("small", "normal", "static") in part)


def test_progress_tells_where_the_grid_stands(grid):
    """Epochs are counted as often as a group has jobs; groups follow each other."""
    trained = [
        group for group in prepare.groups(DATA, priors(), CONFIGS) if group.jobs[0] not in SKIPPED
    ]
    total = sum(len(group.jobs) for group in trained) * SLOW.epochs
    done = [progress.done for progress in grid.progress]
    assert done == sorted(set(done)) and done[0] > 0 and done[-1] <= total
    assert {(p.total, p.unit) for p in grid.progress} == {(total, "epochs")}
    begun = 0
    for number, group in enumerate(trained, 1):
        n = len(group.jobs)
        own = [p for p in grid.progress if p.text.startswith(f"group {number} of {len(trained)}")]
        for progress in own:
            epochs = (progress.done - begun) / n
            assert 0 < epochs <= SLOW.epochs and f"epoch {epochs:.0f} of 40" in progress.text
            assert progress.losses.train.shape == (n * SEEDS, epochs)
        begun += n * SLOW.epochs
        # The results of a group come in the order of its jobs, whose losses were told last.
        at = grid.order.index(group.jobs[0])
        assert tuple(grid.order[at : at + n]) == group.jobs
        last = np.concatenate([grid.fits[job].losses.train for job in group.jobs])
        np.testing.assert_array_equal(own[-1].losses.train, last)


def test_results_come_group_by_group_and_one_may_stop(monkeypatch):
    trained = []
    monkeypatch.setattr(training, "run", lambda *a, **k: trained.append(1) or real(*a, **k))
    results = fit_many(DATA, priors(), configs=CONFIGS, seeds=SEEDS)
    assert trained == []
    next(results)
    results.close()
    assert trained == [1]


real = training.run


REFUSED = {
    "no data": ({"datasets": []}, "at least one of the data sets, found none"),
    "no priors": ({"priors": {}}, "at least one of the priors, found none"),
    "no settings": ({"configs": {}}, "at least one of the settings, found none"),
    "no seeds": ({"seeds": 0}, "at least one seed, found 0"),
    "names twice": (
        {"datasets": [DATA["small"], DATA["small"]]},
        r"names of their own, found data0, data0; pass a mapping",
    ),
    "prior of other genes": (
        {"priors": {"": None, "e": Priors(None, KnownEdges(MADE[0][1]))}},
        r"none of the \d+ pairs .*other.*check symbols",
    ),
    "edge prior on effects": ({"priors": {"e": KnownEdges(KNOWN)}}, "use it as the edge prior"),
    "sites": ({"priors": {"e": {"effects": None}}}, r"effect and edge, found \['effects'\]"),
    "held out": ({"configs": {"a": SLOW, "b": replace(SLOW, held_out=0.99)}}, "0.99"),
    "counts": (
        {"datasets": DATA | {"z": DATA["large"]._replace(x=np.round(9 * DATA["large"].x))}},
        "look like counts",
    ),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_bad_grids_are_refused_before_any_training(case):
    changes, message = REFUSED[case]
    given = {"datasets": DATA, "priors": {"": None}, "configs": SLOW} | changes
    with pytest.raises(ValueError, match=message):
        # Not even a first result is asked for.
        fit_many(**given)


def test_names_that_are_written_alike_are_refused():
    with pytest.raises(ValueError, match="names of their own"):
        prepare.named({1: DATA["small"], "1": DATA["large"]}, "data sets")


def test_already_normalised_data_are_the_same(grid):
    ready = {name: normalise(data) for name, data in DATA.items()}
    other = Grid(ready)
    assert all(same(fitted, grid.fits[job]) for job, fitted in other.fits.items())


def test_priors_may_have_keys_of_their_own(grid):
    keys = {"normal": 0, "known": 7, "flipped": 3}
    mixed = Grid(key=keys)
    assert mixed.compiled == []
    for data, prior in (("small", "normal"), ("large", "known"), ("other", "flipped")):
        one, key = Job(data, prior, "fast"), keys[prior]
        effect, edge, _ = as_priors(priors()[prior])
        alone = fit(DATA[data], effect, edge, config=FAST, seeds=SEEDS, key=key)
        if jax.devices()[0].platform == "cpu":
            assert same(mixed.fits[one], alone)
        np.testing.assert_allclose(mixed.fits[one].weight, alone.weight, rtol=1e-3, atol=1e-5)
        assert same(mixed.fits[one], grid.fits[one]) == (key == 0)


def test_every_prior_needs_a_key_where_they_differ():
    with pytest.raises(
        ValueError, match="a key for every prior, found none for 'flipped', 'known'"
    ):
        fit_many(DATA, priors(), configs=SLOW, key={"normal": 1})


def test_a_stream_has_one_key(tmp_path):
    data = DATA["small"]
    table = ad.AnnData(data.x, pd.DataFrame(index=data.cells), pd.DataFrame(index=data.genes))
    table.write_h5ad(tmp_path / "x.h5ad")
    stream = open_stream(tmp_path / "x.h5ad", regulators=data.regulators)
    with pytest.raises(ValueError, match="expected one key for all priors, since a stream"):
        fit_many(
            {"stream": stream},
            {"": Normal(0.1)},
            configs=replace(SLOW, held_out=0.0, patience=0),
            key={"": 1},
        )
