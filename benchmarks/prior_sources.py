"""Which embedding of genes is worth most as a prior of a network, and is any worth its shuffle?

    INFOSEM_DATA=DATA python benchmarks/prior_sources.py --out DIR [--resume] [--networks specific]

compares, on BEELINE's data as ``infosem benchmark grn`` does, InfoSEM without prior with InfoSEM-B
whose vectors are those of BioBERT (of symbols), of texts (TF-IDF), of MuSe-GNN trained on the same
expression (``musegnn_same``) or on the other data sets alone (``musegnn_other``), and of texts and
the latter side by side (``joined``). Each stands beside itself permuted among genes, and beside a
graph prior of the nearest neighbours. No embedding sees a network. Symbols are in capitals in all
of these data, so that genes of the two species with one symbol are taken for one.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _record import (
    Figure,
    benchmark_parser,
    cells_of,
    data_folder,
    paired_texts,
    print_progress,
    print_table,
    report,
    run,
)

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
    from infosem_jax.benchmark.grn.cells import STORE

    options = benchmark_parser(__doc__, seeds=3)
    options.add_argument("--datasets", default="", help="targets, split by commas; all four")
    options.add_argument("--networks", default="", help="split by commas; all if not given")
    options.add_argument("--epochs", type=int, default=EPOCHS, help="of MuSe-GNN")
    arguments = options.parse_args()
    cells = cells_of(arguments, STORE.read_all, compute)
    rows = list(comparisons(cells))
    columns = ("prior", "against", "network", "score", "ratio [95 %]", "difference [95 %]", "won")
    print_table(columns, [_line(*row) for row in rows])
    report([_figure(*row) for row in rows], arguments)


def compute(arguments) -> "list[Cell]":
    """Train the embeddings, run InfoSEM with each, and return the cells."""
    from infosem_jax._settings import choose
    from infosem_jax.benchmark.grn.infosem import embedding_methods
    from infosem_jax.benchmark.grn.methods import methods
    from infosem_jax.benchmark.grn.references import (
        add_embeddings,
        find_embeddings,
        find_references,
        load,
    )
    from infosem_jax.benchmark.grn.runner import Grid, reduce
    from infosem_jax.benchmark.runner import run_grid
    from infosem_jax.cli._common import words

    folder = data_folder("beeline", "beeline/hESC/TFs+500/expression.npz")
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
    wanted = choose("method", ("infosem_none", *CONTROLS), known)
    grid = Grid(
        loaded,
        wanted | embedding_methods(VECTORS, quick=arguments.quick),
        ("all",),
        1 if arguments.quick else arguments.seeds,
        arguments.quick,
        notes=(*notes, *covered),
    )

    return run_grid(grid, arguments.out, resume=arguments.resume, on_chunk=print_progress).cells


def trained(
    loaded: "Sequence[Loaded]", targets: Sequence[str], epochs: int, folder: Path
) -> "dict[str, Embedding]":
    """Train MuSe-GNN on each target alone, and on all others; what is there is not made again."""
    from infosem_jax import embedding
    from infosem_jax.data import read_embedding, write_embedding

    folder.mkdir(exist_ok=True)
    graphs = {
        each.reference.dataset: embedding.study_graph(
            embedding.make_study(each.data.x, each.data.genes, name=each.reference.dataset)
        )
        for each in loaded
    }
    config = embedding.Config(settings=embedding.MuSeGNNConfig(epochs=epochs))
    found = {}
    for target in targets:
        others = [graph for name, graph in graphs.items() if name != target]
        for kind, own in (("same", [graphs[target]]), ("other", others)):
            path = folder / f"{target}_{kind}_{epochs}.npz"
            if not path.exists():
                print(f"training MuSe-GNN for {target}: {kind}", file=sys.stderr)
                fitted = embedding.fit(own, config=config)
                write_embedding(path, embedding.one_per_gene(embedding.predict(fitted)))
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


def _line(own: str, other: str, row: Row) -> tuple[str, ...]:
    return (
        own,
        other,
        row["network"],
        METRICS[row["metric"]],
        *paired_texts(row),
    )


def _figure(own: str, other: str, row: Row) -> Figure:
    name = f"prior_sources: {own} against {other}, {row['network']}, {METRICS[row['metric']]}"
    ends = {"low": float(row["ratio_low"]), "high": float(row["ratio_high"])}
    return Figure(name, float(row["ratio"]), "ratio", "higher", 1.0, **ends)


if __name__ == "__main__":
    run(main)
