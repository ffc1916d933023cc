"""Which embedding of genes is worth most as a prior of a network, and is any worth its shuffle?

    INFOSEM_DATA=DATA python benchmarks/prior_sources.py --out DIR [--resume] [--networks specific]

compares, on BEELINE's data as ``infosem benchmark grn`` does, InfoSEM without prior with InfoSEM-B
whose vectors are those of BioBERT (of symbols), of texts (TF-IDF), of MuSe-GNN trained on the same
expression (``musegnn_same``) or on the other data sets alone (``musegnn_other``), and of texts and
the latter side by side (``joined``). Each stands beside itself dealt to other genes, and beside a
graph prior of the nearest neighbours. No embedding sees a network. Symbols are in capitals in all
of these data, so that genes of the two species with one symbol are taken for one.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from _record import Figure, parser, print_table, report, run

if TYPE_CHECKING:
    from infosem_jax.benchmark.grn.references import Loaded
    from infosem_jax.data import Embedding
    from infosem_jax.grn.accuracy import Cell

Row = dict[Any, Any]
DATASETS = ("hESC", "hHEP", "mDC", "mESC")
VECTORS = ("text", "biobert", "musegnn_same", "musegnn_other", "joined")
CONTROLS = ("text_cosine", "biobert_cosine", "target_mean", "correlation")
METRICS = {"auprc_ratio_per_regulator": "per regulator", "auprc": "pooled"}
EPOCHS, QUICK_EPOCHS = 2000, 30


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--out", type=Path, help="folder for the results of a run")
    options.add_argument("--from", dest="earlier", type=Path, help="folder of an earlier run")
    options.add_argument("--datasets", default="", help="targets, split by commas; all four")
    options.add_argument("--networks", default="", help="split by commas; all if not given")
    options.add_argument("--epochs", type=int, default=EPOCHS, help="of MuSe-GNN")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--resume", action="store_true")
    arguments = options.parse_args()
    if (arguments.out is None) == (arguments.earlier is None):
        sys.exit("Give a folder: --out DIR to run the benchmark, or --from DIR to read one.")
    cells = read(arguments.earlier) if arguments.earlier else compute(arguments)
    rows = list(comparisons(cells))
    columns = ("prior", "against", "network", "score", "ratio [95 %]", "difference [95 %]", "won")
    print_table(columns, [_line(*row) for row in rows])
    report([_figure(*row) for row in rows], arguments.json)


def read(folder: Path) -> "list[Cell]":
    """Return the cells of a benchmark that was run before."""
    from infosem_jax.benchmark.grn.cells import STORE

    cells = STORE.read_all(folder)
    if not cells:
        sys.exit(f"{folder} holds no results of this benchmark.")
    return cells


def compute(arguments) -> "list[Cell]":
    """Train the embeddings, run InfoSEM with each, and return the cells."""
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    from infosem_jax.benchmark.grn.infosem import embedding_methods
    from infosem_jax.benchmark.grn.methods import methods
    from infosem_jax.benchmark.grn.references import (
        add_embeddings,
        find_embeddings,
        find_references,
        load,
    )
    from infosem_jax.benchmark.grn.runner import Grid, reduce, run_grid
    from infosem_jax.cli._common import choose_methods, words

    folder = Path(os.environ.get("INFOSEM_DATA", "")) / "beeline"
    if not folder.is_dir():
        sys.exit("Set INFOSEM_DATA to a folder that holds beeline/hESC/TFs+500/expression.npz.")
    networks = words(arguments.networks)
    references, _ = find_references(folder, datasets=DATASETS, networks=networks)
    loaded, notes = [load(reference) for reference in references], []
    if arguments.quick:
        loaded, notes = reduce(loaded)
    loaded, covered = add_embeddings(loaded, find_embeddings(folder), asked=False)
    epochs = QUICK_EPOCHS if arguments.quick else arguments.epochs
    arguments.out.mkdir(parents=True, exist_ok=True)
    # All four train the embeddings of whichever are compared.
    names = tuple(each.reference.dataset for each in loaded)
    targets = words(arguments.datasets) or names
    if not set(targets) <= set(names):
        sys.exit(f"--datasets: choose from {', '.join(names)}.")
    folder = arguments.out.with_name(f"{arguments.out.name}_vectors")
    vectors = trained(loaded, targets, epochs, folder)
    loaded = [_with_vectors(each, vectors) for each in loaded if each.reference.dataset in targets]
    covered += [text for each in loaded for text in _coverage(each)]
    known = methods(quick=arguments.quick)
    wanted = choose_methods(("infosem_none", *CONTROLS), known)
    grid = Grid(
        loaded,
        wanted | embedding_methods(VECTORS, quick=arguments.quick),
        ("all",),
        1 if arguments.quick else arguments.seeds,
        arguments.quick,
        (*notes, *covered),
    )

    def tell(done: int, total: int, text: str) -> None:
        print(f"{done} of {total} cells; {text}", file=sys.stderr)

    return run_grid(grid, arguments.out, resume=arguments.resume, on_progress=tell).cells


def trained(
    loaded: "Sequence[Loaded]", targets: Sequence[str], epochs: int, folder: Path
) -> "dict[str, Embedding]":
    """Train MuSe-GNN on each target alone, and on all others; what is there is not made again."""
    from infosem_jax.data import read_embedding, write_embedding
    from infosem_jax.embedding import model
    from infosem_jax.embedding.function import gene_vectors
    from infosem_jax.embedding.graph import study_graph
    from infosem_jax.embedding.network import Config
    from infosem_jax.embedding.studies import make_study

    folder.mkdir(exist_ok=True)
    graphs = {
        each.reference.dataset: study_graph(
            make_study(each.data.x, each.data.genes, name=each.reference.dataset)
        )
        for each in loaded
    }
    found = {}
    for target in targets:
        others = [graph for name, graph in graphs.items() if name != target]
        for kind, own in (("same", [graphs[target]]), ("other", others)):
            path = folder / f"{target}_{kind}_{epochs}.npz"
            if not path.exists():
                print(f"training MuSe-GNN for {target}: {kind}", file=sys.stderr)
                z = model.embed(own, 0, Config(epochs=epochs))
                names, values = gene_vectors([graph.genes for graph in own], z)
                write_embedding(path, _embedding(names, values))
            found[f"{target}_{kind}"] = read_embedding(path)
    return found


def comparisons(cells: "list[Cell]") -> Iterator[tuple[str, str, Row]]:
    """Yield each prior against no prior, against its shuffle, and against texts."""
    from infosem_jax.grn.paired import paired

    there = {cell.at.method for cell in cells}
    for metric in METRICS:
        for form in ("B", "graph"):
            for name in VECTORS:
                own = f"infosem_{form}_{name}"
                for other in ("infosem_none", f"{own}_shuffled", f"infosem_{form}_text"):
                    if {own, other} <= there and own != other:
                        for row in paired(cells, own, other, metric).to_dict("records"):
                            yield own, other, {**row, "metric": metric}


def _with_vectors(each: "Loaded", vectors: "dict[str, Embedding]") -> "Loaded":
    """Add the embeddings of a data set, each of the genes that it knows."""
    from infosem_jax.data.gene_features import join_embeddings

    own = dict(each.embeddings)
    for kind in ("same", "other"):
        own[f"musegnn_{kind}"] = vectors[f"{each.reference.dataset}_{kind}"]
    if "text" in own:
        parts = own["text"], own["musegnn_other"]
        own["joined"] = join_embeddings(each.data.genes, *parts, ignore_case=True)
    return each._replace(embeddings=own)


def _coverage(each: "Loaded") -> list[str]:
    """Say how many genes of a data set each embedding of MuSe-GNN knows; others have no prior."""
    genes, said = set(each.data.genes), []
    for name in ("musegnn_same", "musegnn_other"):
        known = len(genes & set(each.embeddings[name].names))
        said.append(f"{each.reference.dataset}: {name} covers {known} of {len(genes)} genes")
    return said


def _embedding(names: Sequence[str], values: Any) -> "Embedding":
    from infosem_jax.data import Embedding

    return Embedding(tuple(names), values.astype("float32"))


def _line(own: str, other: str, row: Row) -> tuple[str, ...]:
    return (
        own,
        other,
        row["network"],
        METRICS[row["metric"]],
        f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
        f"{row['difference']:+.3f} [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]",
        f"{row['won']} of {row['pairs']}",
    )


def _figure(own: str, other: str, row: Row) -> Figure:
    name = f"prior_sources: {own} against {other}, {row['network']}, {METRICS[row['metric']]}"
    return Figure(name, float(row["ratio"]), "ratio", "higher", 1.0)


if __name__ == "__main__":
    run(main)
