"""Checksums of arrays, settings, priors and functions."""

import hashlib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist


def fingerprint(tree: Any) -> str:
    """Return a checksum of arrays, names and numbers, and of how they are put together."""
    digest = hashlib.sha256()
    _absorb(digest, tree)
    return digest.hexdigest()


def _absorb(digest: Any, value: Any, inside: tuple[int, ...] = ()) -> None:
    """Feed a value to a digest, each part under its kind and length, so that none runs together.

    ``inside`` identifies the functions and objects that the value is a part of.
    """
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        _absorb(digest, str(value.dtype))
        value = jax.random.key_data(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        digest.update(f"array {array.dtype} {array.shape};".encode())
        if array.dtype.hasobject:
            _absorb(digest, array.tolist(), inside)
        else:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    elif isinstance(value, str | bytes | bool | int | float | None):
        text = value if isinstance(value, bytes) else str(value).encode()
        digest.update(f"{type(value).__name__} {len(text)};".encode() + text)
    elif isinstance(value, dict):
        _absorb_sorted(digest, "dict", value.items(), inside)
    elif isinstance(value, set | frozenset):
        _absorb_sorted(digest, "set", value, inside)
    elif isinstance(value, tuple | list):
        digest.update(f"{type(value).__qualname__} {len(value)};".encode())
        for part in value:
            _absorb(digest, part, inside)
    elif id(value) in inside:
        digest.update(f"level {inside.index(id(value))};".encode())
    else:
        parts = _parts(value, optional=bool(inside))
        _absorb(digest, parts, (*inside, id(value)))


def _absorb_sorted(digest: Any, kind: str, values: Any, inside: tuple[int, ...]) -> None:
    """Feed values whose order means nothing."""
    each = []
    for value in values:
        own = hashlib.sha256()
        _absorb(own, value, inside)
        each.append(own.digest())
    digest.update(f"{kind} {len(each)};".encode() + b"".join(sorted(each)))


def _parts(value: Any, *, optional: bool) -> Any:
    """Return what a function or an object is made of, without memory addresses."""
    # Without its module: moving a class to another file changes nothing of what it computes.
    name = type(value).__qualname__
    if isinstance(value, dist.Distribution):
        # By name: the order in which NumPyro flattens them differs between processes.
        fields = value.gather_pytree_data_fields() + value.gather_pytree_aux_fields()
        return name, {field: vars(value).get(field) for field in fields}
    node = jax.tree_util.default_registry.flatten_one_level(value)
    if node is not None:
        return name, list(node[0]), node[1]
    if isinstance(value, CodeType):
        return value.co_code, value.co_names, value.co_consts
    if callable(value) and hasattr(value, "__qualname__"):
        name = value.__qualname__
        value = inspect.unwrap(value)
        if not isinstance(value, FunctionType):
            return name
        cells = inspect.getclosurevars(value).nonlocals
        return name, value.__code__, value.__defaults__, value.__kwdefaults__, cells
    try:
        # As `copy.copy` sees it: how it is made, its attributes, and its items.
        made = value.__reduce_ex__(4)
    except TypeError as error:
        # What a function only uses, such as a lock, may be told by its kind.
        if optional:
            return name
        raise TypeError(f"Expected arrays, names and numbers, found {name}.") from error
    if isinstance(made, str):
        return name, made
    return name, *(list(part) if isinstance(part, Iterator) else part for part in made)
