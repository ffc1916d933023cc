"""Priors compared: what is measured, how pairs are compared, and runs that go on after a stop."""

from dataclasses import replace
from functools import cache

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
import typer
from handmade import linear_fit
from typer.testing import CliRunner

from infosem_jax.cli import compare as cli_compare
from infosem_jax.compare import RECIPE, compare, edge_changes
from infosem_jax.compare._figures import is_scan
from infosem_jax.compare.experiment import identity, make_plan, run, split_cells
from infosem_jax.compare.measures import Outcome, Settings, agreement, measure_halves, moved
from infosem_jax.compare.page import BAYES, LABELS, _pictures, cells_of, write_comparison
from infosem_jax.compare.summary import paired_density, summarise
from infosem_jax.data.simulate import Simulation, SimulationConfig, simulate
from infosem_jax.grn import fit, fit_many, priors
from infosem_jax.grn.evidence import density, held_out_cells
from infosem_jax.grn.priors.relabelled import Relabelled

TINY = replace(RECIPE, epochs=2, hidden=4, knots=16, held_out=0.2)
HOW = Settings(cells=4, samples=8)


@cache
def simulation() -> Simulation:
    return simulate(SimulationConfig(genes=16, regulators=5, cells=40), 0)


def chosen() -> dict:
    return {"none": priors.Normal(0.1), "graph": priors.GraphPrior(simulation().network)}


def plan(**changes):
    options = {"truth": simulation().network, "config": TINY, "seeds": 2, "how": HOW}
    options |= {"controls": True, "halves": True} | changes
    return make_plan({"s": simulation().data}, chosen(), **options)


@cache
def outcomes() -> list[Outcome]:
    return list(run(plan()))


def outcome(prior: str, density: list[list[float]], cells=None, data: str = "d") -> Outcome:
    names = cells or [[f"c{i}" for i in range(len(row))] for row in density]
    return Outcome(data, prior, "whole", [], names, density, [], [])


@pytest.mark.slow
def test_every_part_is_there_and_the_same_as_fits_alone():
    found = {(o.prior, o.part): o for o in outcomes()}
    assert set(found) == {
        *(("none", "whole"), ("none", "halves"), ("graph", "whole")),
        *(("graph", "control"), ("graph", "halves")),
    }
    data = simulation().data
    alone = fit(data, chosen()["graph"], config=TINY, seeds=2)
    kept = held_out_cells(data, TINY, seed=1)[:4]
    of = density(alone, data, kept, seed=1, samples=8)
    numbers = {(seed, name): value for seed, name, value in found["graph", "whole"].numbers}
    assert numbers[1, "density"] == pytest.approx(of.per_value.mean(), abs=1e-4)
    assert numbers[1, "elbo"] == pytest.approx(-alone.losses.held_out[1, -1], rel=1e-4)
    assert found["graph", "whole"].cells == found["none", "whole"].cells
    assert found["graph", "whole"].cells[1] == [data.cells[i] for i in kept]
    control = fit(
        data,
        Relabelled(chosen()["graph"], seed=0, among=data.regulators),
        config=TINY,
        seeds=2,
    )
    shuffled = {(seed, name): v for seed, name, v in found["graph", "control"].numbers}
    rms = np.sqrt((control.weight[0] ** 2).sum() / (control.weight[0].size - 5))
    assert shuffled[0, "weight_rms"] == pytest.approx(rms, rel=1e-4)


@pytest.mark.slow
def test_tables_have_means_over_seeds_and_data_sets():
    found = summarise(outcomes(), ["none", "graph"], "none")
    rows = found.measures.query("prior == 'graph' and not control and measure == 'auprc'")
    assert len(rows) == 2
    summary = found.summary.query("dataset == 's' and prior == 'graph' and not control")
    assert summary["auprc"].iloc[0] == pytest.approx(rows["value"].mean())
    assert {"halves_spearman", "seeds_top", "prior_auprc", "share_moved"} <= set(summary)
    kinds = found.paired.groupby("kind")["measure"].agg(set).to_dict()
    assert kinds["reference"] == kinds["own control"]
    assert kinds["reference"] == {"density", "auprc", "auprc_ratio_per_regulator"}
    assert kinds["its prior alone"] == {"auprc", "auprc_ratio_per_regulator"}


def test_halves_share_no_cell_and_lose_none():
    data = simulation().data
    first, second = split_cells(data, 0)
    assert {*first.cells, *second.cells} == set(data.cells)
    assert len(first.cells) == len(second.cells) == 20
    place = data.cells.index(first.cells[3])
    np.testing.assert_array_equal(first.x[3], data.x[place])
    order = np.random.default_rng(0).permutation(40)
    turned = data._replace(x=data.x[order], cells=tuple(data.cells[i] for i in order))
    assert split_cells(turned, 0)[0].cells == first.cells
    counted = data._replace(totals=np.arange(len(data.cells), dtype=np.float32))
    for half in split_cells(counted, 0):
        assert half.totals is not None
        assert [data.cells[int(total)] for total in half.totals] == list(half.cells)


def test_what_values_are_taken_for_is_said_once_for_each_data_set(caplog):
    caplog.set_level("INFO", logger="infosem_jax")
    data = simulate(SimulationConfig(genes=20, regulators=5, cells=60, as_counts=True), 0).data
    compare({"one": data, "two": data}, {"plain": priors.Normal()}, controls=False)
    told = [line for line in caplog.messages if "values taken for" in line]
    assert [line.split(":")[0] for line in told] == ["one", "two"]


def test_share_moved_counts_edges():
    data = simulation().data
    zero = np.zeros((len(data.regulators), len(data.genes)))
    found = linear_fit(zero, data.genes, data.regulators)
    weight = np.zeros_like(found.weight)
    nothing = np.zeros_like(weight)
    moving = found._replace(weight=weight, prior_mean=nothing)
    assert moved(moving, weight[0], nothing[0])["share_moved"] == 0
    pairs = np.argwhere(np.asarray(found.regulators)[:, None] != np.asarray(found.genes))
    for row, column in pairs[:15]:
        weight[0, row, column] = -0.5
    got = moved(moving, weight[0], nothing[0])
    assert got["share_moved"] == pytest.approx(15 / 75)
    assert got["change_rms"] == pytest.approx(0.5 * (15 / 75) ** 0.5)
    assert np.isnan(got["prior_correlation"])
    turned = moved(moving, weight[0], -2 * weight[0])
    assert turned["prior_correlation"] == pytest.approx(-1)
    table = edge_changes(moving._replace(weight=weight), top=3)
    assert table["change"].tolist() == [-0.5] * 3
    assert len(edge_changes(moving)) == 75


def test_agreement_of_strengths():
    a = np.arange(300.0)
    assert agreement(a, -a) == {"spearman": pytest.approx(1), "top": 1}
    assert agreement(a, a[::-1]) == {"spearman": pytest.approx(-1), "top": 0}
    assert np.isnan(agreement(a, np.zeros(300))["spearman"])


@pytest.mark.slow
def test_halves_are_compared_across_seeds():
    found = fit(simulation().data, priors.Normal(0.1), config=TINY, seeds=2)
    swapped = found._replace(weight=found.weight[::-1])
    numbers = measure_halves("d", "p", found, swapped).numbers
    assert {name: value for _, name, value in numbers}["halves_spearman"] == pytest.approx(1)
    bad = swapped._replace(diverged=np.array([2, -1]))
    assert {seed for seed, *_ in measure_halves("d", "p", found, bad).numbers} == {0}


def test_paired_density_has_the_interval_of_the_mean():
    rng = np.random.default_rng(0)
    luck, gain = rng.normal(size=400), rng.normal(0.3, 1.0, 400)
    own, other = outcome("a", [(luck + gain).tolist()]), outcome("b", [luck.tolist()])
    got = paired_density([own], [other], np.random.default_rng(1))
    se = gain.std() / 20
    assert got["difference"] == pytest.approx(gain.mean())
    assert got["low"] == pytest.approx(gain.mean() - 1.96 * se, abs=0.012)
    assert got["high"] == pytest.approx(gain.mean() + 1.96 * se, abs=0.012)
    assert (got["pairs"], got["data_sets"]) == (400, 1)
    assert got["won"] == (gain > 0).sum()


def test_paired_density_takes_cells_of_several_seeds_for_one():
    rng = np.random.default_rng(0)
    gain = rng.normal(0.3, 1.0, 100).tolist()
    nothing = [0.0] * 100
    one = paired_density([outcome("a", [gain])], [outcome("b", [nothing])], rng)
    three = paired_density([outcome("a", [gain] * 3)], [outcome("b", [nothing] * 3)], rng)
    width = [found["high"] - found["low"] for found in (one, three)]
    assert width[1] == pytest.approx(width[0], rel=0.15)
    lost = paired_density([outcome("a", [gain, []])], [outcome("b", [nothing, nothing])], rng)
    assert lost["difference"] == pytest.approx(one["difference"])


def test_priors_without_genes_have_no_control():
    data = {"s": simulation().data}
    options = {"truth": None, "config": TINY, "seeds": 1, "how": HOW, "halves": False}
    kinds = {
        "plain": dist.Normal(0.0, 0.1),
        "laplace": priors.Laplace(0.1),
        "mine": user_prior,
        "graph": priors.GraphPrior(simulation().network),
        "both": {"effect": priors.Normal(0.1), "edge": priors.KnownEdges(simulation().known)},
    }
    made = make_plan(data, kinds, controls=True, **options)
    assert set(made.controls) == {"mine", "graph", "both"}
    assert isinstance(made.controls["both"].edge, Relabelled)
    assert isinstance(made.controls["both"].effect, priors.Normal)
    assert not make_plan(data, kinds, controls=False, **options).controls


def user_prior(context):
    return dist.Normal(0.0, 0.1)


def test_bad_plans_are_refused():
    data, network = simulation().data, simulation().network
    for changes, message in (
        ({"config": replace(TINY, held_out=0.0)}, "held_out"),
        ({"truth": {"t": network}}, "found those of t"),
        ({"seeds": 0}, "at least one seed"),
        ({"how": HOW._replace(cells=0)}, "one cell"),
    ):
        with pytest.raises(ValueError, match=message):
            plan(**changes)
    with pytest.raises(ValueError, match="shuffled"):
        compare(data, {"a (shuffled)": None}, config=TINY)
    with pytest.raises(ValueError, match="reference among"):
        compare(data, {"a": None}, config=TINY, reference="b")
    few = data._replace(x=data.x[:15], observed=data.observed[:15], cells=data.cells[:15])
    with pytest.raises(ValueError, match="without halves"):
        compare(few, {"a": None}, config=TINY)


@pytest.mark.slow
def test_killed_runs_go_on_and_end_alike(tmp_path):
    small = plan(seeds=1)
    whole = list(run(small, folder=tmp_path))
    kept = sorted(tmp_path.glob("*.npz"))
    assert len(kept) == len(whole) == 5
    kept[0].unlink()
    told = []
    again = list(run(small, folder=tmp_path, on_progress=lambda share, text: told.append(share)))
    key = lambda o: (o.prior, o.part)
    for before, after in zip(sorted(whole, key=key), sorted(again, key=key), strict=True):
        assert before.cells == after.cells
        np.testing.assert_allclose(before.density, after.density, rtol=1e-6)
    assert told[-1] == 1 and min(told) >= 0.8
    whole_file = kept[1].read_bytes()
    for content in (whole_file[:-100], b'{"data": "s"}'):
        kept[1].write_bytes(content)
        with pytest.raises(ValueError, match=r"damaged.*; remove it"):
            list(run(small, folder=tmp_path))
    assert identity(small) != identity(small._replace(seeds=2))


@pytest.mark.slow
def test_folder_is_written_whole_and_refuses_other_runs(tmp_path):
    small = plan(seeds=1, halves=False)
    out, options = tmp_path / "out", {"record": {"run": {"seeds": 1}}, "about": {"none": "No <b>"}}
    saved = tmp_path / "out.checkpoint"

    def stop_early(share, text):
        raise KeyboardInterrupt

    def stop(share, text):
        if "whole" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_comparison(small, out, on_progress=stop_early, **options)
    assert not saved.exists()

    with pytest.raises(KeyboardInterrupt):
        write_comparison(small, out, on_progress=stop, **options)
    assert saved.exists() and not out.exists()
    with pytest.raises(ValueError, match="--resume"):
        write_comparison(small, out, **options)
    other = small._replace(how=HOW._replace(samples=9))
    with pytest.raises(ValueError, match="measured"):
        write_comparison(other, out, resume=True, **options)
    found = write_comparison(small, out, resume=True, **options)
    assert not saved.exists()
    assert {path.name for path in out.iterdir()} == {
        *("comparison.csv", "summary.csv", "paired.csv", "table.md", "plots", "report.html"),
        *("versions.json", "config.toml"),
    }
    table = pd.read_csv(out / "comparison.csv")
    assert list(table) == ["dataset", "prior", "control", "seed", "measure", "value"]
    assert len(table) == len(found.measures)
    page = (out / "report.html").read_text()
    assert "No &lt;b&gt;" in page and "<script" not in page and page.count("<svg") >= 3
    with pytest.raises(ValueError, match="not empty"):
        write_comparison(small, out, **options)


def test_scan_of_strengths_is_drawn():
    scan = priors.scan(priors.Normal(0.1), (0.1, 1, 10))
    assert is_scan(list(scan)) and not is_scan(["none", "graph", "1"])
    rows = [
        outcome(name, [[value]])._replace(numbers=[(0, "density", value)])
        for name, value in zip(scan, (-2.0, -1.0, -3.0), strict=True)
    ]
    found = summarise(rows, list(scan), "1")
    drawn = _pictures(found)
    (ax,) = drawn["strengths"].figure.axes
    assert np.asarray(ax.lines[0].get_xydata()).tolist() == [[0.1, -2.0], [1.0, -1.0], [10.0, -3.0]]
    assert np.asarray(ax.lines[1].get_xydata()).tolist() == [[1.0, -1.0]]


def test_command_refuses_before_it_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(cli_compare, "start_devices", lambda *_: None)
    data = simulation().data
    table = pd.DataFrame(data.x, pd.Index(data.cells), pd.Index(data.genes))
    table.to_csv(tmp_path / "x.csv")
    simulation().network.to_csv(tmp_path / "truth.csv", index=False)
    app = typer.Typer()
    app.command()(cli_compare.compare)
    (tmp_path / "regulators.txt").write_text("\n".join(data.regulators))
    start = [str(tmp_path / "x.csv"), "--regulators", str(tmp_path / "regulators.txt")]
    start += ["--out", str(tmp_path / "out")]
    for extra, message in (
        (["--resume", "--overwrite"], "--resume or --overwrite"),
        (["--effect", "grapf"], "Unknown prior"),
        (["--reference", "b"], "reference among"),
        (["--network", f"y={tmp_path / 'truth.csv'}"], "name of a data set"),
        (["--effect", "normal", "--effect", "normal"], "more than once"),
    ):
        result = CliRunner().invoke(app, [*start, *extra])
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.checkpoint").exists()


@pytest.mark.slow
def test_true_structure_wins_by_density_alone():
    config = SimulationConfig(genes=40, regulators=25, cells=80)
    scores = []
    for simulated in (simulate(config, seed) for seed in range(50, 54)):
        edges = pd.DataFrame(simulated.network[["source", "target"]])
        kinds = {
            "none": priors.Normal(0.05),
            "true": priors.GraphPrior(edges, scale=0.4, elsewhere=0.1),
        }
        recipe = replace(RECIPE, epochs=300, hidden=8, knots=32, held_out=0.4, observation_sd=0.35)
        grid = fit_many({"s": simulated.data}, kinds, configs=recipe)
        kept = held_out_cells(simulated.data, recipe)
        scores.append({j.prior: density(f, simulated.data, kept).per_value.mean() for j, f in grid})
    assert all(score["true"] > score["none"] for score in scores)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (("density", 0.01234, 0.01, 0.02), "+0.0123 [+0.0100, +0.0200]"),
        (("density", 3.1e-5, 2e-6, 6e-5), "+0.000031 [+0.000002, +0.000060]"),
        (("density", 0.0, 0.0, 0.0), "+0.0000 [+0.0000, +0.0000]"),
        (("bayes", 40.43, 18.7, 63.1), "+40.4 [+18.7, +63.1]"),
    ],
)
def test_small_differences_show_their_digits(row, text):
    measure, difference, low, high = row
    name = BAYES if measure == "bayes" else next(each for each in LABELS if each != BAYES)
    own = {"measure": name, "difference": difference, "low": low, "high": high}
    assert cells_of({"prior": "a", "against": "b", **own})[3] == text
