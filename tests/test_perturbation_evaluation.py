"""Anyone's predictions scored: by brute force, against Arc's own program, and what is refused."""

import json
import re

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
    with pytest.raises(ValueError, match="predictions: it has no matrix X; found mean"):
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


@pytest.mark.parametrize(("form", "n"), [("{}+ctrl", 33), ("ctrl+{}", 25), ("{}_1", 33)])
def test_one_profile_of_each_of_many_perturbations_is_read_from_any_column(form, n):
    """All names differ, as those of cells do, and what was perturbed was not measured."""
    rng = np.random.default_rng(0)
    targets = [f"T{i}" for i in range(25)]
    names = [*targets, *(f"{a}+{b}" for a, b in zip(targets[:8], targets[8:], strict=False)), "NT"]
    x = np.exp(rng.normal(1, 1, 30) + rng.normal(0, 0.5, (len(names), 30)))
    labels = np.repeat(names, 12)
    var = pd.DataFrame(index=[f"g{i}" for i in range(30)])
    truth = anndata.AnnData(
        rng.poisson(np.repeat(x, 12, 0)).astype(np.float32),
        obs=pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(len(labels))]),
        var=var,
    )
    written = [name.replace("+", "_") if "+" in name else form.format(name) for name in names[:-1]]
    obs = pd.DataFrame({"condition": written}, index=[f"{i}" for i in range(len(written))])
    columns = perturbation.Columns(perturbation="perturbation")
    predicted = anndata.AnnData(x[:-1], obs=obs, var=var)
    found = perturbation.evaluate_predictions(predicted, truth, columns=columns, splits=0)
    # Two separators in one column are not understood; then no combination is taken for one gene.
    assert len(found.panel.perturbed) == n and "obs['condition']" in " ".join(found.notes)
    assert found.scores.metrics["discrimination"] > 0.95
    # As many again that were not observed; and other names only.
    more = predicted.copy()
    more.obs["condition"] = [f"other{i}" for i in range(33)]
    both = anndata.concat([predicted, more, more], index_unique="-")
    again = perturbation.evaluate_predictions(both, truth, columns=columns, splits=0)
    assert len(again.panel.perturbed) == n
    assert f"{66 - n} names are not in the truth" in " ".join(again.notes)
    with pytest.raises(ValueError, match=r"names such as T0, .* looked in obs\['condition'\]"):
        perturbation.evaluate_predictions(more, truth, columns=columns)
    with pytest.raises(ValueError, match="rows are genes; transpose"):
        perturbation.evaluate_predictions(predicted.T, truth, columns=columns)


def test_cell_lines_of_predictions_are_not_mixed(pair):
    truth = pair[1].copy()
    one = means(truth)
    two = anndata.concat([one, one], index_unique="-", keys=["a", "b"])
    two.obs = pd.DataFrame(
        {"target": [*one.obs_names] * 2, "cell_type": np.repeat(["K562", "RPE1"], len(one))},
        index=two.obs_names,
    )
    two.X[len(one) :] = two.X[: len(one)][::-1]
    with pytest.raises(ValueError, match=r"several cell lines .*K562, RPE1.* does not tell"):
        perturbation.evaluate_predictions(two, truth)
    truth.obs["cell_line"] = "k562"
    with pytest.raises(ValueError, match="the truth is of A549"):
        other = truth.copy()
        other.obs["cell_line"] = "A549"
        perturbation.evaluate_predictions(two, other)
    found = perturbation.evaluate_predictions(two, truth, splits=0)
    assert "6 predicted rows of other cell lines are not used" in found.notes
    assert found.scores.metrics["discrimination"] == 1


def test_profiles_of_guides_are_not_taken_for_cells(pair):
    one = means(pair[1])
    guides = anndata.concat([one] * 3, index_unique="-")
    guides.obs = pd.DataFrame({"target": [*one.obs_names] * 3}, index=guides.obs_names)
    with pytest.raises(ValueError, match=r"found 3 to 3 rows of each.*average them"):
        perturbation.evaluate_predictions(guides, pair[1])


def test_what_is_just_below_0_is_taken_as_0(pair):
    truth = logs(pair[1])
    plain = means(truth)
    below = plain.copy()
    below.X = np.where(plain.X == 0, -0.01, plain.X).astype(np.float32)
    wanted = perturbation.evaluate_predictions(plain, truth, splits=0)
    found = perturbation.evaluate_predictions(below, truth, splits=0)
    assert found.scores.metrics == pytest.approx(wanted.scores.metrics, nan_ok=True)
    assert f"{(plain.X == 0).sum()} values down to -0.01 are taken as 0" in found.notes
    observed = truth.copy()
    observed.X = observed.X.toarray() - np.float32(0.001)
    with pytest.raises(ValueError, match="The truth: expected expression"):
        perturbation.evaluate_predictions(plain, observed)


def test_totals_that_are_off_a_little_are_told_and_controls_settle_it():
    counts = screen(0, strength=0.2)
    truth = logs(counts)
    near, off = (means(logs(counts, 1e4 * factor)) for factor in (1.0, 1.25))
    told = [perturbation.evaluate_predictions(x, truth, splits=0).notes for x in (near, off)]
    assert ["all changes are off" in " ".join(notes) for notes in told] == [False, True]
    control = of(logs(counts, 1.25e4), "control").mean(0)
    x = np.vstack([off.X, control[::-1]])
    named = pd.DataFrame({"condition": [*off.obs_names, "non-targeting"]}, index=list("abcdefg"))
    own = anndata.AnnData(x, obs=named, var=off.var)
    with pytest.raises(ValueError, match="mean profiles of control cells"):
        perturbation.evaluate_predictions(own, truth)
    # Logarithms of means are none of logarithms.
    bulk = means(counts)
    bulk.X = np.log1p(1e4 * bulk.X / bulk.X.sum(1, keepdims=True))
    with pytest.raises(ValueError, match="not logarithms of means"):
        perturbation.evaluate_predictions(bulk, counts, total=1e4)


def test_identifiers_are_matched_to_symbols():
    from infosem_jax.data._species import gene_table

    table = gene_table("human")
    some = [(s, e.split("|")[0]) for s, e in zip(table["symbol"], table["ensembl"], strict=True)]
    symbols, ids = zip(*[pair for pair in some if pair[1]][:N_GENES], strict=True)
    truth = screen(0)
    place = dict(zip(truth.var_names, symbols, strict=True))
    truth.obs["target"] = [place.get(name, name) for name in truth.obs["target"]]
    predicted = truth.copy()
    truth.var_names, predicted.var_names = symbols, [f"{name}.3" for name in ids]
    found = perturbation.evaluate_predictions(predicted, truth, splits=0)
    assert "60 genes are matched by Ensembl identifier" in found.notes
    assert found.scores.metrics["discrimination"] == 1


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
    call = "evaluate-perturbation", *files, "--splits", 2
    environment = {"JAX_NUM_CPU_DEVICES": "1"}
    done = CliRunner().invoke(app, [str(a) for a in call], env=environment)
    assert done.exit_code == 0, done.output
    # Numbers are whole in a narrow window.
    assert re.search(r"Weighted R² +│ -?[−\d.]+ +│ 0.000 +│", done.output)
    each = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert list(each["perturbation"]) == made.names()[:4] and (each["pearson_delta"] > 0.5).all()
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    table = pd.DataFrame(told["measures"]).set_index("measure")
    assert table.loc["pearson_delta", "prediction"] == pytest.approx(each["pearson_delta"].mean())
    assert {"scores.csv", "summary.csv", "report.html", "config.toml"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    # Of what infosem wrote, the layer with expression and its total are known.
    again = [*call, "--predicted-layer", "mean", "--total", 0, "--overwrite"]
    same = CliRunner().invoke(app, [str(a) for a in again], env=environment)
    assert same.exit_code == 0, same.output
    measures = json.loads((tmp_path / "out" / "summary.json").read_text())["measures"]
    assert measures == told["measures"]
    wrong = [*call, "--overwrite", "--predicted-layer", "X"]
    done = CliRunner().invoke(app, [str(a) for a in wrong], env=environment)
    assert done.exit_code != 0 and "as of differences" in done.output
