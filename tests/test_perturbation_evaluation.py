"""Anyone's predictions scored: by brute force, against Arc's own program, and what is refused."""

import json

import anndata
import numpy as np
import pandas as pd
import perturbed as made
import pytest
from scipy import sparse, stats
from typer.testing import CliRunner

from infosem_jax import perturbation
from infosem_jax.cli.app import app
from infosem_jax.perturbation.de import rank_sum_p

N_GENES, TARGETS = 60, tuple(f"g{i:02d}" for i in range(8, 14))
SIX = ("discrimination", "fidelity", "reach", "jaccard", "lfc_error", "mse")


def screen(seed, *, strength=1.0, n=30, swap=False):
    """Return counts of cells with effects of their own; those of three targets swapped."""
    fixed, rng = np.random.default_rng(5), np.random.default_rng(seed + 10)
    base = np.exp(fixed.normal(0.5, 1.2, N_GENES))
    base[:3] = 1e-4
    effect = fixed.normal(0, 1.3, (len(TARGETS), N_GENES)) * (fixed.random((6, N_GENES)) < 0.4)
    labels = np.repeat([*TARGETS, "control"], [n] * 6 + [2 * n])
    rate = np.tile(base, (len(labels), 1))
    for i, target in enumerate(TARGETS):
        of = [1, 2, 0, 3, 4, 5][i] if swap else i
        rate[labels == target] *= np.exp(strength * effect[of])
        rate[labels == target, 8 + i] *= 0.1
    depth = np.exp(rng.normal(0, 0.3, len(labels)))
    x = rng.poisson(rate * depth[:, None] * rng.gamma(3, 1 / 3, rate.shape)).astype(np.float32)
    obs = pd.DataFrame({"target": labels}, index=[f"c{i}" for i in range(len(labels))])
    var = pd.DataFrame(index=[f"g{i:02d}" for i in range(N_GENES)])
    return anndata.AnnData(sparse.csr_matrix(x), obs=obs, var=var)


@pytest.fixture(scope="module")
def pair():
    return screen(1, strength=0.7, n=20, swap=True), screen(0)


@pytest.fixture(scope="module")
def found(pair):
    return perturbation.evaluate_predictions(*pair, splits=2)


def of(adata, name):
    return adata.X.toarray().astype(float)[(adata.obs["target"] == name).to_numpy()]


def table_of(cells, controls):
    """Test each gene alone, by the definition."""
    cpm, base = (1e6 * x / x.sum(1, keepdims=True) for x in (cells, controls))
    genes = np.flatnonzero(base.mean(0) / base.mean(0).sum() * 1e6 > 5)
    p = [stats.mannwhitneyu(cpm[:, g], base[:, g], method="asymptotic").pvalue for g in genes]
    lfc = np.log2((cpm.mean(0)[genes] + 1e-9) / (base.mean(0)[genes] + 1e-9))
    rows = zip(lfc, p, stats.false_discovery_control(p), strict=True)
    return dict(zip(genes.tolist(), rows, strict=True))


def profile(x):
    return np.log1p(5e4 * x.sum(0) / x.sum())


def noise(x):
    left = np.array([profile(np.delete(x, i, 0)) for i in range(len(x))])
    return (len(x) - 1) / len(x) * np.square(left - left.mean(0)).sum()


def brute_force(predicted, truth):
    """Compute the six measures of a perturbation at a time, in loops."""
    control = of(truth, "control")
    base, kept = profile(control), [g for g in range(N_GENES) if not 8 <= g < 14]
    each = {name: [] for name in SIX}
    terms = []
    for i, name in enumerate(TARGETS):
        ours, real = of(predicted, name), of(truth, name)
        guess = (profile(ours) - base)[kept]
        away = []
        for other in TARGETS:
            effect = (profile(of(truth, other)) - base)[kept]
            away.append(1 - guess @ effect / np.linalg.norm(guess) / np.linalg.norm(effect))
        each["discrimination"].append(1 - sum(d < away[i] for d in away) / (len(TARGETS) - 1))
        own = 8 + i
        a, b = (table_of(x, control) for x in (ours, real))
        called = [g for g in a if a[g][2] < 0.05 and g != own]
        significant = [g for g in b if b[g][2] < 0.05 and g != own]
        right = [g for g in a if a[g][0] * b[g][0] > 0]
        each["fidelity"].append(len({*called} & {*right}) / max(len(called), len(significant)))
        order = sorted(significant, key=lambda g: (a[g][2], a[g][1], -abs(a[g][0]), g))
        depth = [k for k in range(1, len(order) + 1) if len({*order[:k]} & {*right}) >= 0.9 * k]
        each["reach"].append(max(depth, default=0) / len(significant))
        both = {*called} | {*significant}
        each["jaccard"].append(len({*called} & {*significant}) / len(both))
        assert len(significant) >= 10
        size = sum(abs(b[g][0]) for g in significant)
        each["lfc_error"].append(sum(abs(a[g][0] - b[g][0]) for g in significant) / size)
        rest = [g for g in range(N_GENES) if g != own]
        error = np.square(profile(ours) - profile(real))[rest].sum()
        effect = np.square(profile(real) - base)[rest].sum()
        terms.append((error, effect, min(noise(ours), noise(real)), noise(real)))
    error, effect, claimed, real = np.array(terms).T
    # All perturbations leave out one gene, so that all weigh the same.
    ours = np.array([profile(of(predicted, name)) for name in TARGETS])
    apart = 0.0
    for g in range(N_GENES):
        column = ours[[i for i in range(6) if g != 8 + i], g]
        apart += np.square(column - column.mean()).sum()
    granted = min(1.0, apart / claimed.sum())
    each["mse"] = (error - granted * claimed - real).sum() / (effect - real - noise(control)).sum()
    return each


def test_the_six_measures_by_brute_force(pair, found):
    wanted = brute_force(*pair)
    for name in SIX:
        np.testing.assert_allclose(found.scores.metrics[name], np.mean(wanted[name]), rtol=1e-9)
        if name != "mse":
            np.testing.assert_allclose(found.scores.each[name], wanted[name], rtol=1e-9)
    # What is tried is neither right nor wrong everywhere.
    assert 0.5 < found.scores.metrics["discrimination"] < 1
    assert 0.1 < found.scores.metrics["reach"] < 1


def test_the_six_measures_are_those_of_cell_eval2(found):
    # What cell-eval2 0.16.0, preset vcc2026, prints of these cells.
    wanted = {
        "discrimination": 0.7666666666666666, "fidelity": 0.42365917249818175,
        "reach": 0.5039872408293461, "jaccard": 0.23526872737399054,
        "lfc_error": 0.7214411704584007, "mse": 0.6461169211779108,
    }  # fmt: skip
    for name, value in wanted.items():
        np.testing.assert_allclose(found.scores.metrics[name], value, rtol=1e-9)


def test_rank_sums_of_groups_are_scipys():
    rng = np.random.default_rng(0)
    x = rng.poisson(0.7, (60, 12)) * rng.choice([1.0, 0.5, -1.0], (60, 12))
    controls = rng.poisson(0.7, (37, 12)).astype(float)
    x[:, 3] = controls[:, 3] = 0
    x[:, 4] = controls[:, 4] = 2
    x[:20, 5] = 0
    group = rng.permutation(np.repeat([0, 1, 2], 20))
    found = rank_sum_p(sparse.csc_array(x), group, sparse.csc_array(controls))
    with np.errstate(all="ignore"):
        tests = [stats.mannwhitneyu(x[group == i], controls, method="asymptotic") for i in range(3)]
    # Of genes that are the same in all cells, newer versions of scipy say NaN.
    expected = np.nan_to_num([test.pvalue for test in tests], nan=1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_mean_response_is_0_a_replicate_1_and_the_truth_beyond(pair, found):
    truth = pair[1]
    perfect = perturbation.evaluate_predictions(truth, truth, splits=2)
    for name in ("pearson_delta", "jaccard", "reach", "fidelity", "discrimination"):
        assert perfect.scores.metrics[name] == pytest.approx(1)
        assert perfect.placed[name] > found.placed[name]
    assert perfect.scores.metrics["lfc_error"] == pytest.approx(0, abs=1e-12)
    # What is exactly right has no error but the noise that is taken off.
    assert perfect.scores.metrics["mse"] < 0 < found.scores.metrics["mse"]
    # One profile for all is told apart as by chance, exactly.
    assert found.bounds.mean.metrics["discrimination"] == 0.5
    assert found.bounds.mean.metrics["pearson_reference"] == pytest.approx(0, abs=0.3)
    assert found.placed["jaccard"] == pytest.approx(
        (found.scores.metrics["jaccard"] - found.bounds.mean.metrics["jaccard"])
        / (found.bounds.replicate["jaccard"] - found.bounds.mean.metrics["jaccard"])
    )


def means(adata):
    """Return one profile of each perturbation, in another order of rows and genes."""
    x = np.stack([of(adata, name).mean(0) for name in reversed(TARGETS)])
    var = adata.var.iloc[::-1]
    return anndata.AnnData(x[:, ::-1].copy(), obs=pd.DataFrame(index=TARGETS[::-1]), var=var)


def test_profiles_are_taken_for_cells_and_their_sums_are_as_good(pair):
    cells = perturbation.evaluate_predictions(pair[1], pair[1], splits=0)
    one = means(pair[1])
    profiles = perturbation.evaluate_predictions(one, pair[1], splits=0)
    one.X *= 30
    sums = perturbation.evaluate_predictions(one, pair[1], splits=0)
    assert "one profile" in " ".join(profiles.notes)
    for name in ("discrimination", "lfc_error", "mse", "jaccard"):
        assert sums.scores.metrics[name] == pytest.approx(profiles.scores.metrics[name], rel=1e-3)
    assert profiles.scores.metrics["discrimination"] == 1
    assert profiles.scores.metrics["pearson_delta"] > 0.95
    # Made cells of the right mean: significant genes are found again, not those of each draw.
    assert 0.4 < profiles.scores.metrics["jaccard"] < cells.scores.metrics["jaccard"]
    assert profiles.scores.metrics["lfc_error"] < 0.35


def logs(adata, total=1e4):
    found = adata.copy()
    x = adata.X.toarray()
    found.X = sparse.csr_matrix(np.log1p(total * x / x.sum(1, keepdims=True)))
    found.uns["log1p"] = {"base": None}
    return found


def test_units_must_agree(pair):
    predicted, truth = pair
    both = perturbation.evaluate_predictions(logs(predicted), logs(truth), splits=0)
    brought = perturbation.evaluate_predictions(logs(predicted), truth, total=1e4, splits=0)
    for name in SIX:
        assert both.scores.metrics[name] == pytest.approx(brought.scores.metrics[name], rel=1e-4)
    for wrong in (logs(predicted), means(logs(predicted))):
        with pytest.raises(ValueError, match="look like log of a total"):
            perturbation.evaluate_predictions(wrong, truth)
    for wrong in (predicted, means(predicted)):
        with pytest.raises(ValueError, match=r"times that of the controls|look like counts"):
            perturbation.evaluate_predictions(wrong, logs(truth))
    other = logs(predicted, 5e3), means(logs(predicted, 5e3)), means(logs(predicted, 1e6))
    base2 = logs(predicted)
    base2.X, base2.uns = base2.X / np.log(2), {}
    for wrong in (*other, base2):
        with pytest.raises(ValueError, match=r"have a total of|times that of the controls"):
            perturbation.evaluate_predictions(wrong, logs(truth))
    changes = means(logs(predicted))
    changes.X -= changes.X.mean(0)
    with pytest.raises(ValueError, match="as of differences"):
        perturbation.evaluate_predictions(changes, logs(truth))


def test_what_holds_no_expression_is_refused(pair):
    predicted, truth = pair
    x = predicted.X.toarray()
    for rows, match in (
        (predicted.obs["target"] == "g08", "none of 1 perturbations"),
        (predicted.obs["target"] != "", "no value above 0"),
    ):
        other = predicted.copy()
        other.X = np.where(rows.to_numpy()[:, None], 0, x)
        with pytest.raises(ValueError, match=match):
            perturbation.evaluate_predictions(other, truth)
    nothing = anndata.AnnData(obs=predicted.obs, var=predicted.var, layers={"mean": predicted.X})
    with pytest.raises(ValueError, match="predictions: X is empty; choose a layer from mean"):
        perturbation.evaluate_predictions(nothing, truth)
    broken = predicted.copy()
    broken.X = np.where(x == x.max(), np.nan, x)
    with pytest.raises(ValueError, match="The predictions: 1 values are not finite"):
        perturbation.evaluate_predictions(broken, truth)


def test_files_are_read_as_they_lie_on_disk(pair, found, tmp_path):
    predicted, truth = pair
    predicted.copy().write_h5ad(tmp_path / "predicted.h5ad")
    backed = anndata.read_h5ad(tmp_path / "predicted.h5ad", backed="r")
    again = perturbation.evaluate_predictions(backed, truth, splits=0)
    backed.file.close()
    assert again.scores.metrics["mse"] == found.scores.metrics["mse"]


def test_names_are_matched_counted_and_refused(pair):
    predicted, truth = pair
    part = predicted[predicted.obs["target"] != "g09", 5:].copy()
    with pytest.raises(ValueError, match=r"55 of 60 genes .* predicted.*common"):
        perturbation.evaluate_predictions(part, truth)
    part.obs["target"] = part.obs["target"].replace({"g10": "nothing"})
    found = perturbation.evaluate_predictions(part, truth, common_genes=True, splits=0)
    told = " ".join(found.notes)
    assert found.panel.perturbed == (("g08",), ("g11",), ("g12",), ("g13",))
    assert "4 perturbations of the truth are predicted" in told
    assert "1 names are not in the truth: nothing" in told and "55 of 60 genes" in told
    assert "2 perturbations of the truth are not predicted" in told
    part.obs["target"] = part.obs["target"].astype(str).str.replace("g", "x")
    with pytest.raises(ValueError, match="0 perturbations of the truth are predicted"):
        perturbation.evaluate_predictions(part, truth, common_genes=True)
    part.var_names = [f"ENSG{i}" for i in range(part.n_vars)]
    with pytest.raises(ValueError, match="0 of 60 genes"):
        perturbation.evaluate_predictions(predicted[:, :0].copy(), truth)


def test_predicted_names_are_read_as_those_of_the_truth(pair, found):
    """As GEARS, guides and other separators have them, in whatever column they are."""
    predicted, truth = pair
    for form in ("{}+ctrl", "{}_1", "{}"):
        other = predicted.copy()
        names = [form.format(name) if name != "control" else "ctrl" for name in other.obs["target"]]
        other.obs = pd.DataFrame({"seed": "a", "condition": names}, index=other.obs_names)
        again = perturbation.evaluate_predictions(other, truth, splits=0)
        assert again.panel.perturbed == found.panel.perturbed
        assert "names from obs['condition']" in " ".join(again.notes)


def test_combinations_in_any_order_and_lines_by_name(pair):
    predicted, truth = (each.copy() for each in pair)
    names = truth.obs["target"].replace({"g08": "g08+g20"})
    truth.obs["target"], truth.obs["cell_line"] = names, "a"
    predicted.obs["target"] = predicted.obs["target"].replace({"g08": "g20+g08"})
    two = anndata.concat([truth, truth], keys=["a", "b"], index_unique="-")
    two.obs["cell_line"] = np.repeat(["a", "b"], truth.n_obs)
    with pytest.raises(ValueError, match="Expected a cell line"):
        perturbation.evaluate_predictions(predicted, two)
    found = perturbation.evaluate_predictions(predicted, two, line="b", splits=0)
    assert found.panel.perturbed[0] == ("g08", "g20") and found.panel.own[0, 20]
    assert found.panel.controls.x.shape[0] == 60


def test_the_command_scores_what_infosem_predicts(tmp_path):
    made.cells(n=12).write_h5ad(tmp_path / "screen.h5ad")
    fitted = perturbation.fit(
        perturbation.read_screen(tmp_path / "screen.h5ad"),
        made.knowledge(),
        config=perturbation.Config("neighbours", "none"),
    )
    task = perturbation.task_of(fitted, made.names()[:4])
    predicted = perturbation.predict(fitted, task.perturbed, task.line, task.control)
    from infosem_jax.perturbation.reports import to_anndata

    to_anndata(predicted, task, record={}).write_h5ad(tmp_path / "ours.h5ad")
    files = tmp_path / "ours.h5ad", tmp_path / "screen.h5ad", "--out", tmp_path / "out"
    call = "evaluate-perturbation", *files, "--predicted-layer", "mean", "--total", 0, "--splits", 2
    environment = {"JAX_NUM_CPU_DEVICES": "1"}
    done = CliRunner().invoke(app, [str(a) for a in call], env=environment)
    assert done.exit_code == 0, done.output
    each = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert list(each["perturbation"]) == made.names()[:4] and (each["pearson_delta"] > 0.5).all()
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    table = pd.DataFrame(told["measures"]).set_index("measure")
    assert table.loc["pearson_delta", "prediction"] == pytest.approx(each["pearson_delta"].mean())
    assert {"scores.csv", "summary.csv", "report.html", "config.toml"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    wrong = CliRunner().invoke(app, [str(a) for a in [*call[:5], "--overwrite"]], env=environment)
    assert wrong.exit_code != 0 and "as of differences" in wrong.output
