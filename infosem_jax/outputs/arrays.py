"""Fitted models as files: nested tuples, settings, names and arrays, without pickle."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from infosem_jax._typing import Path
from infosem_jax.data import archive
from infosem_jax.data._files import reading


def save(path: Path, kind: str, value: Any) -> None:
    """Write a value to one file, whole or not at all; `load` returns it bit for bit.

    Values are NamedTuples, dataclasses, dicts, lists, tuples, text, numbers, None, arrays of NumPy
    and of JAX, random keys, sparse matrices (CSR), and nestings of them. An array that occurs more
    than once is written once. The file is that of `infosem_jax.data.archive`.

    Parameters
    ----------
    path
        The file.
    kind
        What the file is, with a version.
    value
        What is kept.

    Raises
    ------
    OSError
        If writing fails; an older file is then as it was.
    TypeError
        If the value holds something else.
    """
    arrays: _Numbered = {}
    form = _encode(value, arrays)
    archive.write(path, [array for _, array in arrays.values()], {"kind": kind, "form": form})


def load(
    path: Path,
    kind: str,
    written_by: str,
    types: Sequence[type],
    also: Mapping[str, Sequence[type]] = {},
) -> Any:
    """Make the value again that `save` wrote; arrays come back as arrays of NumPy.

    Settings that a dataclass has got since then stand at their defaults.

    Parameters
    ----------
    path, kind
        As of `save`.
    written_by
        The command or function that writes such files, for those who give another.
    types
        The NamedTuples and dataclasses that may occur; nothing else is called.
    also
        Types of files of other kinds that are read as well.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, was changed, or is something else.
    """
    with reading(path, f"file of {written_by}"):
        record, arrays = archive.read(path, f"file of {written_by}")
        known = {kind: types, **also}
        if record.get("kind") not in known:
            raise ValueError(f"expected {kind!r}, found {record.get('kind')!r}.")
        own = {each.__name__: each for each in known[record["kind"]]}
        return _decode(record["form"], arrays, own)


# Arrays by identity, each with its number.
_Numbered: TypeAlias = dict[int, tuple[int, Any]]


def _encode(value: Any, arrays: _Numbered) -> Any:
    """Describe a value as JSON, in which lists begin with a tag, and number its arrays."""

    def each(values: Any) -> list[Any]:
        return [_encode(part, arrays) for part in values]

    kind = type(value)
    if kind in (type(None), bool, int, float, str):
        return value
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return ["key", str(jax.random.key_impl(value)), _number(jax.random.key_data(value), arrays)]
    if isinstance(value, np.ndarray | jax.Array):
        return ["array", _number(value, arrays)]
    if isinstance(value, np.generic):
        return ["scalar", _number(value, arrays)]
    if isinstance(value, sparse.csr_array):
        return ["csr", [*(value.shape or ())], *each([value.data, value.indices, value.indptr])]
    if kind in (list, tuple):
        return [kind.__name__, each(value)]
    if kind is dict:
        return ["dict", each(value), each(value.values())]
    if isinstance(value, tuple) and (named := getattr(value, "_fields", None)):
        names = list(named)
    elif is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if field.init]
    else:
        raise TypeError(f"Expected names, numbers, arrays and tuples of them, found {value!r:.100}")
    return ["of", kind.__name__, names, each(getattr(value, name) for name in names)]


def _number(array: Any, arrays: _Numbered) -> int:
    return arrays.setdefault(id(array), (len(arrays), array))[0]


def _decode(form: Any, arrays: Sequence[np.ndarray], types: Mapping[str, type]) -> Any:
    """Make again what `_encode` described; any error means that it did not describe it."""

    def each(forms: Any) -> list[Any]:
        return [_decode(part, arrays, types) for part in forms]

    if not isinstance(form, list):
        return form
    tag, *rest = form
    match tag:
        case "list":
            return each(*rest)
        case "tuple":
            return tuple(each(*rest))
        case "dict":
            keys, values = map(each, rest)
            return dict(zip(keys, values, strict=True))
        case "array":
            return arrays[rest[0]]
        case "scalar":
            return arrays[rest[0]][()]
        case "key":
            return jax.random.wrap_key_data(arrays[rest[1]], impl=rest[0])
        case "csr":
            found = sparse.csr_array(tuple(each(rest[1:])), shape=tuple(rest[0]))
            found.check_format(full_check=True)
            return found
        case "of":
            name, names, values = rest
            if name not in types:
                raise ValueError(f"it holds {name}, which is no part of such a file.")
            return types[name](**dict(zip(names, each(values), strict=True)))
    raise ValueError(f"it holds {tag!r}, which this version does not know.")
