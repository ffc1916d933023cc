"""Screens are read by what their columns hold, and what was read is told."""

from itertools import pairwise

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

from infosem_jax.cli.app import app
from infosem_jax.perturbation import (
    Columns,
    Config,
    draw_splits,
    evaluate_held_out,
    fit,
    make_problem,
    read_screen,
)
from infosem_jax.perturbation.fitting import parse_perturbed
from infosem_jax.perturbation.guides import is_control
from infosem_jax.perturbation.knowledge import make_knowledge

GENES = (
    *("TP53", "MYC", "GATA1", "KLF1", "SPI1", "CEBPA", "RUNX1", "NKX2-1", "HLA-A", "STAT1"),
    *(f"GENE{i}" for i in range(20)),
)
PERTURBED = GENES[:10]
IDS = tuple(f"ENSG{100000 + 37 * i:011d}" for i in range(len(GENES)))
PER, CONTROLS = 12, 60
AUTO = Columns()
TARGETS = [None] * CONTROLS + [gene for gene in PERTURBED for _ in range(PER)]


def write(path, obs, var=None, layers=None, x=None):
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.uniform(1, 20, len(GENES)), (len(TARGETS), len(GENES)))
    table = pd.DataFrame(obs, index=[f"c{i}" for i in range(len(TARGETS))])
    var = pd.DataFrame(index=list(GENES)) if var is None else var
    x = sparse.csr_matrix(counts.astype(np.float32)) if x is None else x
    adata = anndata.AnnData(x, obs=table, var=var, layers=layers)
    adata.write_h5ad(path)
    return adata


def named(of_gene, control="control"):
    """Return a label for each cell, from its number and its gene."""
    return [control if gene is None else of_gene(i, gene) for i, gene in enumerate(TARGETS)]


def check(path, columns=AUTO, perturbed=PERTURBED, controls=CONTROLS):
    screen = read_screen(path, columns=columns, least_cells=3)
    assert {gene for own in screen.responses.perturbed for gene in own} == set(perturbed)
    assert screen.controls["all"].shape[0] == controls
    return screen.responses


GUIDES = {
    "GENE_1": lambda i, gene: f"{gene}_{i % 2 + 1}",
    "GENE_sg1": lambda i, gene: f"{gene}_sg{i % 2 + 1}",
    "GENEg1": lambda i, gene: f"{gene}g{i % 2 + 1}",
    "GENE-1": lambda i, gene: f"{gene}-{i % 2 + 1}",
    "GENE.1": lambda i, gene: f"{gene}.{i % 2 + 1}",
    "sgGENE_1": lambda i, gene: f"sg{gene}_{i % 2 + 1}",
    "GENE_plasmid": lambda i, gene: f"{gene}_pDS{250 + i % 2}",
    "GENE_sequence": lambda i, gene: f"{gene}_{'ACGT' * 5}{'AC'[i % 2]}",
    "GENE_P1P2": lambda i, gene: f"{gene}_P1P2",
    "GENE_A": lambda i, gene: f"{gene}_{'AB'[i % 2]}",
    "GENE-KO": lambda i, gene: f"{gene}-KO",
    "CRISPRi_GENE_1": lambda i, gene: f"CRISPRi_{gene}_{i % 2}",
    "g1_GENE": lambda i, gene: f"g{i % 2 + 1}_{gene}",
    "KO_GENE": lambda i, gene: f"KO_{gene}",
    "number_GENE_id": lambda i, gene: f"10{i % 2}_{gene}_P1P2_ENSG00000{100000 + i % 2}",
    "GENE_1|GENE_2": lambda i, gene: f"{gene}_1|{gene}_2",
    "sgRNA_GENE_1": lambda i, gene: f"sgRNA_{gene}_{i % 2}",
    "siGENE": lambda i, gene: f"si{gene}",
    "GENE-KD-1": lambda i, gene: f"{gene}-KD-{i % 2}",
    "GENE_strand_place": lambda i, gene: f"{gene}_{'+-'[i % 2]}_{1000 + i % 2}.23-P1P2",
    "gene": lambda i, gene: gene if i % 2 else gene.lower(),
    "GENE+ctrl": lambda i, gene: f"{gene}+ctrl",
    "GENE_NegCtrl0__": lambda i, gene: f"{gene}_NegCtrl0__{gene}_NegCtrl0",
    "ctrl_GENE": lambda i, gene: f"NegCtrl0_{gene}",
}


@pytest.mark.parametrize("nperts", [False, True])
@pytest.mark.parametrize("form", GUIDES)
def test_guides_are_read_as_their_gene(tmp_path, form, nperts):
    obs = {"perturbation": named(GUIDES[form])}
    if nperts:
        obs["nperts"] = [int(gene is not None) for gene in TARGETS]
    write(tmp_path / "s.h5ad", obs)
    found = check(tmp_path / "s.h5ad")
    assert len(found.perturbed) == len(PERTURBED)
    assert "10 of 10 perturbed genes are measured" in found.notes[0]


@pytest.mark.parametrize("form", ["GENE_1", "GENEg1", "GENE-1", "GENE_plasmid", "sgGENE_1"])
def test_guides_of_genes_that_were_not_measured_go_together(tmp_path, form):
    """No test perturbation's gene is learned from under the name of another guide."""
    of = GUIDES[form]
    other = named(lambda i, gene: of(i, gene if gene == "MYC" else f"{gene}X"))
    write(tmp_path / "s.h5ad", {"perturbation": other})
    genes = {"MYC", *(f"{gene}X" for gene in PERTURBED if gene != "MYC")}
    assert len(check(tmp_path / "s.h5ad", perturbed=genes).perturbed) == len(PERTURBED)


HALF = [gene for gene in GENES if gene not in PERTURBED[5:8]]


@pytest.mark.parametrize(
    "form",
    ["GENE KO", "GENE (sg1)", "GENE:1", "GENE_TSS1", "GENE_1|GENE_2",
     "GENE_+_100.23-P1P2|GENE_-_112.2-P1P2",
     "GENE_NegCtrl0", "GENE_1|NT_2"],
)  # fmt: skip
def test_what_follows_measured_genes_is_no_part_of_others(tmp_path, form):
    obs = {"guide": named(lambda i, gene: form.replace("GENE", gene), "non-targeting")}
    counts = np.random.default_rng(0).poisson(9.0, (len(TARGETS), len(HALF))).astype(np.float32)
    write(tmp_path / "s.h5ad", obs, pd.DataFrame(index=HALF), x=counts)
    check(tmp_path / "s.h5ad")


def test_a_gene_in_every_combination_that_was_not_measured_is_no_name_of_a_guide(tmp_path):
    label = [gene and (gene if i % 2 or gene == "CEBPA" else f"{gene}_CEBPA")
             for i, gene in enumerate(TARGETS)]  # fmt: skip
    obs = {"guide": [own or "NT" for own in label]}
    counts = np.random.default_rng(0).poisson(9.0, (len(TARGETS), len(HALF))).astype(np.float32)
    write(tmp_path / "s.h5ad", obs, pd.DataFrame(index=HALF), x=counts)
    assert sum(len(own) == 2 for own in check(tmp_path / "s.h5ad").perturbed) == 9


@pytest.mark.parametrize(
    ("separator", "ends"),
    [*((own, ("", "")) for own in ("_", "|", "-", ".", " and ", "_AND_", "--", "~")),
     ("+", ("_1", "_2")), ("|", ("_1", "_2"))],
)  # fmt: skip
def test_combinations_with_genes_that_were_not_measured_stay_combinations(
    tmp_path, separator, ends
):
    """They became single perturbations of the gene that was measured."""
    label = [gene and gene + ends[0] for gene in TARGETS]
    for k, (a, b) in enumerate(pairwise(PERTURBED)):
        label[CONTROLS + k * PER + 6 : CONTROLS + (k + 1) * PER] = [
            f"{a}{ends[0]}{separator}{b}{ends[1]}"
        ] * 6
    obs = {"guide": [own or "NT" for own in label]}
    counts = np.random.default_rng(0).poisson(9.0, (len(TARGETS), len(HALF))).astype(np.float32)
    write(tmp_path / "s.h5ad", obs, pd.DataFrame(index=HALF), x=counts)
    found = check(tmp_path / "s.h5ad").perturbed
    assert sum(len(own) == 2 for own in found) == 9, found


@pytest.mark.parametrize("separator", ["+", "_", "|", ";", ",", "&", "/", " ", "__"])
def test_separators_are_told_by_the_names_between_them(tmp_path, separator):
    pair = named(lambda i, gene: f"{gene}{separator}MYC" if gene != "MYC" else gene)
    write(tmp_path / "s.h5ad", {"perturbation": pair})
    found = check(tmp_path / "s.h5ad")
    assert ("MYC", "TP53") in found.perturbed and ("MYC",) in found.perturbed
    assert f"separator {separator!r}" in found.notes[0]


@pytest.mark.parametrize(
    "control",
    ["NT", "NT1", "non-targeting_00023", "neg_ctrl_3", "control_2", "Non-Targeting", "NTC-4",
     "NegCtrl0_NegCtrl0__NegCtrl0_NegCtrl0", "ctrl+ctrl", "safe_targeting_7", "scrambled", "AAVS1",
     "negative control", "Unperturbed", "NT_1|NT_2", "ONE_SITE", "no-guide-control",
     "NO-TARGET_12", "non-perturbed", "CRISPRi_NT_3", "sgNT_2", "NTg3", "INTERGENIC_301"],
)  # fmt: skip
def test_controls_have_many_names(tmp_path, control):
    write(tmp_path / "s.h5ad", {"what": named(lambda i, gene: gene, control)})
    assert f"controls {control}: {CONTROLS} cells" in check(tmp_path / "s.h5ad").notes[0]


def test_genes_are_no_controls():
    assert not any(map(is_control, (*GENES, "NT5E", "WT1", "SCRIB", "NEGR1", "SAFB", "DMSO9X")))


def test_several_controls_may_be_asked_for_and_the_others_are_left_out(tmp_path):
    labels = named(lambda i, gene: gene)
    labels[:30] = ["buffer"] * 10 + ["water"] * 10 + ["NT_1", "NT_2"] * 5
    write(tmp_path / "s.h5ad", {"perturbation": labels})
    found = check(tmp_path / "s.h5ad", Columns(control=["buffer", "water"]), controls=20)
    assert "left out: NT_1, NT_2, control" in " ".join(found.notes)
    both = (*PERTURBED, "buffer", "water")
    check(tmp_path / "s.h5ad", Columns(control="NT"), perturbed=both, controls=10)
    labels[:30] = ["NegCtrl0_NegCtrl0__NegCtrl0_NegCtrl0"] * 15 + ["NegCtrl1_NegCtrl1"] * 15
    write(tmp_path / "s.h5ad", {"perturbation": labels})
    check(tmp_path / "s.h5ad", Columns(control="NegCtrl0"), controls=15)
    with pytest.raises(ValueError, match=r"no cell is a control.*perturbation.*NegCtrl0"):
        read_screen(tmp_path / "s.h5ad", columns=Columns(control="absent"))


@pytest.mark.parametrize("kind", ["category", "string", "object"])
def test_cells_without_one_guide_are_left_out(tmp_path, kind):
    labels = np.array(named(lambda i, gene: gene), object)
    labels[:19] = [
        *("unassigned", "multiple", "ambiguous", "*", "", "nan", "None", "Doublet", "Negative"),
        *("multiplet", "no_guide", "Unknown", np.nan, None, "2+ guides", ">1 sgRNAs"),
        *("0", "nan;nan", "low_quality"),
    ]
    column = {"category": pd.Categorical, "string": lambda x: pd.array(x, dtype="string")}
    values = column.get(kind, lambda x: [str(each) for each in x])(labels)
    with anndata.settings.override(allow_write_nullable_strings=True):
        write(tmp_path / "s.h5ad", {"perturbation": values})
    found = check(tmp_path / "s.h5ad", controls=CONTROLS - 19)
    assert "19 cells without a named perturbation were left out" in found.notes


@pytest.mark.parametrize("column", ["gene_target", "target_gene", "gene", "guide_target", "my own"])
def test_the_column_is_chosen_by_what_it_holds(tmp_path, column):
    """Not by its name: `condition` is a treatment here, `perturbation` a class or coordinates."""
    rng = np.random.default_rng(1)
    obs = {
        "perturbation": named(lambda i, gene: "Perturbed", "NT"),
        "condition": rng.choice(["control", "IFNB1", "IFNG", "co-culture"], len(TARGETS)),
        "target": [f"chr{i}.{i}" for i in range(len(TARGETS))],
        column: named(lambda i, gene: gene, "non-targeting"),
        "guide_id": named(lambda i, gene: f"{gene}_{i % 3}", "non-targeting"),
    }
    write(tmp_path / "s.h5ad", obs)
    assert f"perturbations from obs['{column}']" in check(tmp_path / "s.h5ad").notes[0]


def test_several_columns_that_would_do_are_refused(tmp_path):
    rng = np.random.default_rng(1)
    obs = {
        "condition": rng.choice(["control", "GENE3", "GENE4"], len(TARGETS)),
        "target_gene": named(lambda i, gene: gene),
    }
    write(tmp_path / "s.h5ad", obs)
    with pytest.raises(ValueError, match=r"several columns.*target_gene \(10 of 10.*condition"):
        read_screen(tmp_path / "s.h5ad")
    check(tmp_path / "s.h5ad", Columns(perturbation="target_gene"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda gene: f"IFN{gene}", r"condition \(0 of 10 names are genes measured.*name the col"),
        (lambda gene: gene.capitalize(), "10 match when case is ignored"),
    ],
)
def test_few_measured_genes_are_refused_unless_the_column_is_named(tmp_path, change, match):
    write(tmp_path / "s.h5ad", {"condition": named(lambda i, gene: change(gene))})
    with pytest.raises(ValueError, match=match):
        read_screen(tmp_path / "s.h5ad")
    if "name" in match:
        found = read_screen(tmp_path / "s.h5ad", columns=Columns(perturbation="condition"))
        assert "0 of 10 perturbed genes are measured" in found.responses.notes[0]


@pytest.mark.parametrize("column", ["feature_name", "gene_symbols", "gene_short_name", "Name"])
def test_genes_are_named_by_the_column_that_holds_the_perturbed_ones(tmp_path, column):
    labels = {"perturbation": named(lambda i, gene: gene)}
    versioned = [f"{name}.{i % 9 + 1}" for i, name in enumerate(IDS)]
    for kind in (pd.Categorical, list):
        var = pd.DataFrame({column: kind(GENES), "gene_type": "protein_coding"}, index=versioned)
        write(tmp_path / "s.h5ad", labels, var)
        found = check(tmp_path / "s.h5ad")
        assert f"genes from var['{column}']: 10 of 10" in found.notes[0] and found.genes == GENES
    # The same table with guides named by identifiers without versions.
    ids = dict(zip(GENES, IDS, strict=True))
    write(tmp_path / "s.h5ad", {"perturbation": named(lambda i, gene: ids[gene])}, var)
    found = check(tmp_path / "s.h5ad", perturbed=IDS[:10])
    assert "genes from var.index: 10 of 10" in found.notes[0]
    # Symbols that are nowhere in the file match no identifier.
    write(tmp_path / "s.h5ad", labels, pd.DataFrame(index=versioned))
    for columns in (Columns(), Columns(perturbation="perturbation")):
        with pytest.raises(ValueError, match="0 of 10 names are genes measured"):
            read_screen(tmp_path / "s.h5ad", columns=columns)


def test_genes_without_a_name_go_by_their_id_and_repeated_ones_are_counted(tmp_path):
    symbols = [None if i % 7 == 6 else gene for i, gene in enumerate(GENES)]
    symbols[-1] = "TP53"
    var = pd.DataFrame({"gene_name": symbols}, index=list(IDS))
    write(tmp_path / "s.h5ad", {"perturbation": named(lambda i, gene: gene)}, var)
    found = read_screen(tmp_path / "s.h5ad").responses
    assert len(found.genes) == len(GENES) - 1 and IDS[6] in found.genes
    assert "1 genes whose name others have as well were left out" in found.notes


def test_another_matrix_of_the_file_is_named_and_read(tmp_path):
    labels = {"perturbation": named(lambda i, gene: gene)}
    plain = write(tmp_path / "plain.h5ad", labels)
    scaled = np.asarray(plain.X.toarray() - 5, np.float32)
    write(tmp_path / "s.h5ad", labels, x=scaled, layers={"counts": plain.X})
    with pytest.raises(ValueError, match=r"negative.*another matrix of the file: counts"):
        read_screen(tmp_path / "s.h5ad")
    adata = anndata.read_h5ad(tmp_path / "s.h5ad")
    del adata.layers["counts"]
    adata.raw = plain
    adata.write_h5ad(tmp_path / "raw.h5ad")
    expected = check(tmp_path / "plain.h5ad")
    for file, layer in (("s", "counts"), ("raw", "raw")):
        found = check(tmp_path / f"{file}.h5ad", Columns(layer=layer))
        np.testing.assert_array_equal(found.delta, expected.delta)
    with pytest.raises(ValueError, match=r"no layer 'x'.*found X, counts"):
        check(tmp_path / "s.h5ad", Columns(layer="x"))


def test_totals_of_all_genes_are_those_that_obs_tells(tmp_path):
    labels = {"perturbation": named(lambda i, gene: gene)}
    plain = write(tmp_path / "plain.h5ad", labels)
    total = np.asarray(plain.X.sum(1)).ravel() * 7
    write(tmp_path / "s.h5ad", labels | {"total_counts": total})
    found, expected = check(tmp_path / "s.h5ad"), check(tmp_path / "plain.h5ad")
    np.testing.assert_allclose(found.control, expected.control, rtol=1e-5)
    assert "obs['total_counts'], of more genes" in " ".join(found.notes)


def test_combinations_with_a_test_gene_are_not_learned_from(tmp_path):
    pair = named(lambda i, gene: f"{gene}+MYC" if i % 2 and gene != "MYC" else gene)
    write(tmp_path / "s.h5ad", {"perturbation": pair})
    found = check(tmp_path / "s.h5ad")
    for seed in range(5):
        split = next(iter(draw_splits(found, "unseen", seed)), None)
        test = {gene for i in split.test for gene in found.perturbed[i]}
        assert test.isdisjoint(gene for i in split.train for gene in found.perturbed[i])
        make_problem(found, split, make_knowledge({}, None, found.genes))


@pytest.mark.slow
def test_another_guide_of_a_test_gene_is_not_learned_from(tmp_path):
    """Guides of one gene in training and test made unseen genes look predictable (.71 for .10)."""
    rng = np.random.default_rng(8)
    rate, labels = rng.lognormal(0, 1, len(GENES)) + 0.3, [None] * 120
    rates = [np.tile(rate, (120, 1))]
    for gene in PERTURBED:
        effect = rng.normal(0, 1.5, len(GENES)) * (rng.random(len(GENES)) < 0.2)
        rates.append(np.tile(rate * np.exp(effect), (40, 1)))
        labels += [gene] * 40
    share = np.concatenate(rates)
    counts = rng.poisson(2500 * share / share.sum(1, keepdims=True)).astype(np.float32)
    pairs = [(a, b) for a in GENES for b in GENES if a < b and rng.random() < 0.15]
    graph = pd.DataFrame(pairs, columns=["source", "target"]).assign(weight=1.0, directed=False)
    known = make_knowledge({"graph": graph}, None, GENES)
    scores = []
    for of in (lambda i, gene: f"{gene}_{i % 2 + 1}", lambda i, gene: gene):
        names = ["control" if gene is None else of(i, gene) for i, gene in enumerate(labels)]
        obs = pd.DataFrame({"perturbation": names, "nperts": 1}, [f"c{i}" for i in range(520)])
        adata = anndata.AnnData(counts, obs, pd.DataFrame(index=list(GENES)))
        adata.write_h5ad(tmp_path / "s.h5ad")
        screen, how = read_screen(tmp_path / "s.h5ad"), Config("neighbours", "unseen")
        fits = [fit(screen, known, config=how, key=key) for key in range(10)]
        found = [evaluate_held_out(fitted, screen).scores.metrics for fitted in fits]
        scores.append(np.mean([each["pearson_reference"] for each in found]))
    assert abs(scores[0] - scores[1]) < 0.05


def test_the_command_says_and_records_what_it_read(tmp_path):
    write(tmp_path / "s.h5ad", {"perturbation": named(GUIDES["GENE_1"], "non-targeting_01")})
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app,
        ["perturbation", "fit", str(tmp_path / "s.h5ad"), "--method", "mean", "--split", "unseen",
         "--out", str(out)],
        env={"JAX_NUM_CPU_DEVICES": "1"},
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told = "10 of 10 perturbed genes are measured; controls non-targeting_01: 60 cells"
    for text in (done.stderr, (out / "config.toml").read_text(), (out / "report.html").read_text()):
        assert told in text


def logs(base):
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.uniform(1, 20, len(GENES)), (len(TARGETS), len(GENES)))
    x = np.log1p(1e4 * counts / counts.sum(1, keepdims=True)) / np.log(base)
    return sparse.csr_matrix(x.astype(np.float32))


@pytest.mark.parametrize("base", [2, 10])
def test_logarithms_to_another_base_are_brought_to_natural_ones(tmp_path, base):
    """Fold changes take ``expm1``, so that those of another base were wrong."""
    found = []
    for i, own in enumerate((np.e, base)):
        write(tmp_path / f"{i}.h5ad", {"perturbation": named(lambda i, gene: gene)}, x=logs(own))
        found.append(check(tmp_path / f"{i}.h5ad"))
    np.testing.assert_allclose(found[0].delta, found[1].delta, atol=1e-5)
    np.testing.assert_allclose(found[0].changes.lfc, found[1].changes.lfc, atol=1e-4)
    assert any(f"base {base} " in note and "natural" in note for note in found[1].notes)


def test_cells_in_two_units_are_found_wherever_they_are(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.uniform(1, 20, len(GENES)), (len(TARGETS), len(GENES)))
    x = sparse.vstack([sparse.csr_matrix(counts[:-9].astype(np.float32)), logs(np.e)[-9:]])
    write(tmp_path / "x.h5ad", {"perturbation": named(lambda i, gene: gene)}, x=x.tocsr())
    with pytest.raises(ValueError, match=r"two units: of 180, 171 hold counts .* and 9 hold"):
        read_screen(tmp_path / "x.h5ad")


def test_what_was_done_to_cells_is_told(tmp_path):
    batch = ["one" if gene is None else "two" for gene in TARGETS]
    obs = {"perturbation": named(lambda i, gene: gene), "batch": batch}
    x = write(tmp_path / "x.h5ad", obs).X.toarray()
    x[70] = 0
    x[:30] = x[30:60]
    write(tmp_path / "x.h5ad", obs, x=x)
    notes = " ".join(check(tmp_path / "x.h5ad").notes)
    assert "1 cells with fewer than 1 counts were left out" in notes
    assert "30 cells have the values of another" in notes
    assert "119 perturbed cells are of batches with fewer than 2 controls" in notes


def test_cells_without_a_label_are_counted_whatever_that_is_called(tmp_path):
    write(tmp_path / "x.h5ad", {"perturbation": named(lambda i, gene: gene, "None")})
    with pytest.raises(ValueError, match="The 60 cells without one are no controls"):
        read_screen(tmp_path / "x.h5ad")


def test_tables_with_marks_repeats_or_controls_are_refused(tmp_path):
    """A mark of missing values, or a perturbation in training and test, was read as it stood."""
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    names, genes = ["A", "B", "A+B", "C"], [f"G{i}" for i in range(6)]
    marked = x.copy()
    marked[1, 2] = -666
    for perts, delta, said in (
        (names, marked, "1 values of delta are -666"),
        (["A+B", "B", "B+A", "C"], x, r"1 perturbations are there more than once \(A\+B\)"),
        (["control", "B", "A", "C"], x, "controls are among the perturbations"),
    ):
        np.savez(tmp_path / "m.npz", perts=perts, genes=genes, delta=delta, ctrl_mean=x[0] ** 2)
        with pytest.raises(ValueError, match=said):
            read_screen(tmp_path / "m.npz")


def test_perturbations_to_predict_are_genes_each_once():
    assert parse_perturbed(["A+ctrl", "B+A", ("B", "B")]) == [("A",), ("A", "B"), ("B",)]
    for asked, said in ((["control"], "control: expected perturbed genes"), (["+"], "found none")):
        with pytest.raises(ValueError, match=said):
            parse_perturbed(asked)
