"""The commands ``infosem perturbation``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infosem_jax.cli._common import (
    check_folder,
    plain_errors,
    progress,
    read_settings,
    start_devices,
    write_record,
)

if TYPE_CHECKING:
    from infosem_jax.perturbation.fitting import Model
    from infosem_jax.perturbation.screen import Screen

perturbation_app = typer.Typer(
    help="What happens if a gene is perturbed that was never seen perturbed.",
    no_args_is_help=True,
)

FILES = {
    "model.npz": "the model, for infosem perturbation predict and explain",
    "predictions.h5ad": "predictions of the test perturbations",
    "scores.csv": "scores of each test perturbation, or of each gene of a table of signs",
    "metrics.json": "their means, of the method and of the mean response",
    "config.toml": "all settings",
    "versions.json": "versions of the software, and the device",
    "report.html": "figures and how to read them",
}
EXPLAINED = {
    "nodes.csv": "genes within reach, with the selector's scores",
    "edges.csv": "edges among the selected genes",
    "report.html": "the subgraph",
}

Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Graph = Annotated[
    list[str] | None,
    typer.Option(
        "--graph", help="NAME=FILE of edges, such as STRING or edges.csv of infosem fit; again."
    ),
]
Text = Annotated[
    Path | None, typer.Option(help="Texts (CSV) or vectors (npz, h5ad, CSV) of genes.")
]
GraphTop = Annotated[
    int, typer.Option(min=0, help="Strongest edges of each target to keep; 0 keeps all.")
]
PerturbationColumn = Annotated[
    str | None, typer.Option("--perturbation", help="Column of obs that says what was perturbed.")
]
Control = Annotated[str | None, typer.Option(help="What control cells are called there.")]
LineColumn = Annotated[str | None, typer.Option("--line-column", help="Column of cell lines.")]
BatchColumn = Annotated[str | None, typer.Option("--batch-column", help="Column of batches.")]
Separator = Annotated[str | None, typer.Option(help="Between the genes of a combination.")]
Fdr = Annotated[float, typer.Option(help="Adjusted p-values of changed genes are below it.")]
Lfc = Annotated[float, typer.Option(help="Absolute log2 fold changes are above it.")]
LeastCells = Annotated[int, typer.Option(min=2, help="Cells of a perturbation at least.")]
LeastCounts = Annotated[float, typer.Option(help="Counts of a cell at least.")]
Keep = Annotated[
    list[str] | None, typer.Option(help="COLUMN=LEAST: cells to keep by a column of obs; again.")
]
TopGenes = Annotated[
    int, typer.Option(min=0, help="Genes that vary most to keep, besides those perturbed; 0: all.")
]
MostCells = Annotated[
    int, typer.Option(min=0, help="Cells of a perturbation at most, drawn at random; 0: all.")
]
Perturb = Annotated[
    str, typer.Option("--perturb", help="Genes, with commas between; A+B for a combination.")
]
Line = Annotated[str, typer.Option("--line", help="Cell line; needed if there are several.")]
Folder = Annotated[Path, typer.Argument(help="Folder that infosem perturbation fit wrote.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]


@perturbation_app.command()
def fit(
    data: Annotated[
        Path, typer.Argument(help="Screen: cells (h5ad), means (npz) or signs (CSV, TSV).")
    ],
    out: Out,
    graph: Graph = None,
    text: Text = None,
    method: Annotated[str, typer.Option(help="adapert, neighbours, ridge, mean, ...")] = "adapert",
    split: Annotated[
        str,
        typer.Option(
            help="published, unseen, combination, line:NAME or a FILE of names; by the data."
        ),
    ] = "auto",
    seeds: Annotated[int, typer.Option(min=1, help="Fits whose predictions are averaged.")] = 1,
    key: Annotated[int, typer.Option(help="Seeds the random numbers and the split.")] = 0,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with a table of the method's settings.")
    ] = None,
    graph_top: GraphTop = 0,
    perturbation: PerturbationColumn = None,
    control: Control = None,
    line_column: LineColumn = None,
    batch_column: BatchColumn = None,
    separator: Separator = None,
    fdr: Fdr = 0.05,
    lfc: Lfc = 0.0,
    least_cells: LeastCells = 10,
    least_counts: LeastCounts = 0.0,
    keep: Keep = None,
    top_genes: TopGenes = 0,
    most_cells: MostCells = 0,
    overwrite: Overwrite = False,
) -> None:
    """Learn to predict responses, and test it on perturbations that were left out.

    The model that is kept is the one that was tested.
    """
    with plain_errors():
        start_devices(False, None)
        from infosem_jax.benchmark.perturbation.runner import usual_split
        from infosem_jax.outputs.folder import software_versions, whole_folder, write_h5ad
        from infosem_jax.outputs.page import write_page
        from infosem_jax.perturbation.baselines import mean_response
        from infosem_jax.perturbation.de import Thresholds
        from infosem_jax.perturbation.methods import configured
        from infosem_jax.perturbation.metrics import evaluate
        from infosem_jax.perturbation.readers import Columns
        from infosem_jax.perturbation.reports import fit_page, score_table, to_anndata
        from infosem_jax.perturbation.fitting import fit_model, predict, save_model
        from infosem_jax.perturbation.screen import predicted_changes, read_knowledge, read_screen
        from infosem_jax.perturbation.splits import draw_splits
        from infosem_jax.perturbation.task import flags, make_problem

        check_folder(out, FILES, overwrite=overwrite)
        settings = read_settings(config, method)
        configured(method, settings)
        graphs = named_files(graph, "--graph")
        screen = read_screen(
            data,
            columns=Columns(perturbation, line_column, batch_column, control, separator),
            thresholds=Thresholds(fdr, lfc),
            least_cells=least_cells,
            least_counts=least_counts,
            keep=least_values(keep),
            top_genes=top_genes,
            most_cells=most_cells,
        )
        how = usual_split(screen) if split == "auto" else split
        how = "unseen" if how == "leave_one_out" and split == "auto" else how
        splits = draw_splits(screen.responses, how, key, screen.published)
        if len(splits) > 1:
            raise ValueError(
                f"--split: {how} has {len(splits)} folds, and one model is kept; choose another, "
                "or run infosem benchmark perturbation."
            )
        knowledge = read_knowledge(graphs, text, perturbed_genes(screen), top=graph_top)
        problem = make_problem(screen.responses, splits[0], knowledge)
        notes = [*screen.responses.notes, *flags(problem.task)]
        for note in notes:
            typer.echo(note, err=True)
        with progress(seeds, "fits") as update:
            model = fit_model(
                problem.task,
                method,
                settings=settings,
                seeds=seeds,
                first_seed=key,
                on_look=lambda done, epoch, most: update(done + epoch / most, f"epoch {epoch}"),
            )
        truth = problem.truth
        prediction = predict(model, truth.perturbed, truth.line, truth.control)
        usual = mean_response(problem.task)
        reference = usual.change if truth.continuous else None
        scored = [
            evaluate(
                truth,
                each,
                reference,
                predicted=predicted_changes(each, truth, screen.controls, key),
                thresholds=Thresholds(fdr, lfc),
            )
            for each in (prediction, usual)
        ]
        record = {
            "command": "infosem perturbation fit",
            "data": str(data),
            "graphs": {name: str(path) for name, path in graphs.items()},
            "text": "" if text is None else str(text),
            "method": method,
            "split": how,
            "seeds": seeds,
            "key": key,
            "fdr": fdr,
            "lfc": lfc,
        }
        versions = software_versions()
        facts = {"Settings": record | model.settings, "Files": FILES, "Versions": versions}
        page = fit_page(truth, prediction, *scored, method=method, notes=notes, facts=facts)
        adata = to_anndata(
            prediction, truth.perturbed, truth.line, truth.genes, truth.control,
            record={"record": json.dumps(record)},
        )  # fmt: skip
        with whole_folder(out) as folder:
            save_model(folder / "model.npz", model)
            write_h5ad(folder / "predictions.h5ad", adata)
            score_table(scored[0]).to_csv(folder / "scores.csv", index=False)
            means = {method: scored[0].metrics, "mean": scored[1].metrics}
            (folder / "metrics.json").write_text(_json(means), encoding="utf-8")
            write_record(folder, {"run": record, method: model.settings}, versions)
            write_page(folder / "report.html", page)
        main = ("pearson_delta", "pearson_reference") if truth.continuous else MAIN_SIGNS
        scores = ", ".join(
            f"{name} {scored[0].metrics[name]:.3f} (mean response {scored[1].metrics[name]:.3f})"
            for name in main
        )
        typer.echo(f"{len(truth.perturbed)} test perturbations: {scores}.")
        typer.echo(f"Wrote {out}: open {out / 'report.html'}.")


@perturbation_app.command()
def predict(
    model: Folder,
    perturb: Perturb,
    out: Annotated[Path, typer.Option("--out", help="h5ad file for the predictions.")],
    line: Line = "",
    overwrite: Overwrite = False,
) -> None:
    """Predict responses to perturbations.

    X holds the expected change, and layers how likely a gene is to change, in which direction, and
    how sure the model is; see infosem_jax.perturbation.reports.to_anndata.
    """
    with plain_errors():
        start_devices(False, None)
        from infosem_jax.outputs.folder import write_h5ad
        from infosem_jax.perturbation.reports import to_anndata
        from infosem_jax.perturbation.fitting import predict as predict_with
        from infosem_jax.perturbation.fitting import usual_control

        if out.suffix != ".h5ad":
            raise ValueError(f"--out: expected a file that ends in .h5ad, found {out}.")
        if out.exists() and not overwrite:
            raise ValueError(f"{out}: the file exists; choose another, or pass --overwrite.")
        if not out.absolute().parent.is_dir():
            raise ValueError(f"{out}: the folder does not exist; create it first.")
        fitted = _load(model)
        perturbed = _perturbed(perturb)
        lines = [_line(fitted, line)] * len(perturbed)
        control = usual_control(fitted.train, lines)
        prediction = predict_with(fitted, perturbed, lines, control)
        record = {"command": "infosem perturbation predict", "model": str(model)}
        adata = to_anndata(prediction, perturbed, lines, fitted.train.genes, control, record=record)
        write_h5ad(out, adata)
        unknown = adata.obs_names[~adata.obs["informed"].to_numpy()].tolist()
        if unknown:
            typer.echo(
                f"Nothing is known of {', '.join(unknown[:10])}: the prediction is the usual "
                "response.",
                err=True,
            )
        typer.echo(f"Wrote {out}: {adata.n_obs} perturbations x {adata.n_vars} genes.")


@perturbation_app.command()
def explain(
    model: Folder,
    perturb: Annotated[str, typer.Option("--perturb", help="A gene; A+B for a combination.")],
    out: Out,
    line: Line = "",
    overwrite: Overwrite = False,
) -> None:
    """Draw the part of the knowledge graph that carried a prediction."""
    with plain_errors():
        start_devices(False, None)
        from infosem_jax.outputs.folder import whole_folder
        from infosem_jax.outputs.page import write_page
        from infosem_jax.perturbation.data import label
        from infosem_jax.perturbation.explanation import explain as explain_one
        from infosem_jax.perturbation.knowledge import reach
        from infosem_jax.perturbation.reports import explain_page
        from infosem_jax.perturbation.fitting import usual_control

        check_folder(out, EXPLAINED, overwrite=overwrite)
        fitted = _load(model)
        perturbed = _perturbed(perturb)
        if len(perturbed) != 1:
            raise ValueError(f"--perturb: expected one perturbation, found {len(perturbed)}.")
        if not fitted.members:
            raise ValueError(f"{model}: {fitted.method} is no network, and chooses no nodes.")
        own = _line(fitted, line)
        found = explain_one(
            fitted.members[0], perturbed[0], own, usual_control(fitted.train, [own])
        )
        name = label(perturbed[0])
        notes = []
        if not reach(fitted.knowledge, perturbed)[0][0]:
            notes.append(f"{name} has no edges in the graph, so there is nothing to choose from.")
        facts = {"Files": EXPLAINED, "Model": {"folder": str(model), "method": fitted.method}}
        page = explain_page(name, perturbed[0], found, notes=notes, facts=facts)
        with whole_folder(out) as folder:
            found.nodes.to_csv(folder / "nodes.csv", index=False)
            found.edges.to_csv(folder / "edges.csv", index=False)
            write_page(folder / "report.html", page)
        chosen = found.nodes[found.nodes["selected"]]["gene"].tolist()
        more = ", ..." if len(chosen) > 8 else ""
        typer.echo(
            f"{name}: {len(chosen)} of {len(found.nodes)} genes within reach are selected: "
            f"{', '.join(chosen[:8])}{more}."
        )
        typer.echo(f"Wrote {out}: open {out / 'report.html'}.")


MAIN_SIGNS = ("de_auroc", "direction_auroc", "de_auroc_pooled")


def named_files(given: list[str] | None, option: str) -> dict[str, Path]:
    """Return files by name, from NAME=FILE."""
    files = {}
    for spec in given or []:
        name, _, file = spec.partition("=")
        if not (name and file) or name in files:
            raise ValueError(f"{option}: expected NAME=FILE, each name once, found {spec!r}.")
        if not Path(file).is_file():
            raise ValueError(f"{option}: {file}: no such file.")
        files[name] = Path(file)
    return files


def least_values(given: list[str] | None) -> list[tuple[str, float]]:
    """Return columns with their least values, from COLUMN=LEAST."""
    found = []
    for spec in given or []:
        name, _, value = spec.partition("=")
        try:
            found.append((name, float(value)))
        except ValueError as error:
            raise ValueError(f"--keep: expected COLUMN=LEAST, found {spec!r}.") from error
    return found


def perturbed_genes(screen: "Screen") -> list[str]:
    """Return all genes that are perturbed or respond, which must have a node."""
    perturbed = {gene for genes in screen.responses.perturbed for gene in genes}
    return sorted(perturbed | set(screen.responses.genes))


def _load(folder: Path) -> "Model":
    from infosem_jax.perturbation.fitting import load_model

    if not (folder / "model.npz").is_file():
        raise ValueError(f"{folder}: expected a folder of infosem perturbation fit.")
    return load_model(folder / "model.npz")


def _perturbed(text: str) -> list[tuple[str, ...]]:
    names = list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    if not names:
        raise ValueError("--perturb: expected genes, found none.")
    return [tuple(sorted(filter(None, name.split("+")))) for name in names]


def _line(model: "Model", given: str) -> str:
    lines = sorted(set(model.train.line))
    if not given and len(lines) > 1:
        raise ValueError(f"--line: expected one of {', '.join(lines)}.")
    if given and given not in lines:
        raise ValueError(f"--line: expected one of {', '.join(lines)}, found {given!r}.")
    return given or lines[0]


def _json(tables: dict[str, dict[str, float]]) -> str:
    finite = {
        name: {key: value if value == value else None for key, value in table.items()}
        for name, table in tables.items()
    }
    return json.dumps(finite, indent=2) + "\n"
