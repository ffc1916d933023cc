"""Fitted models come back from their file bit for bit, and any other file is refused in words."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from test_checkpoint import arrays

from infosem_jax.data import archive
from infosem_jax.outputs.arrays import load, save

KIND = "infosem_jax example 1"


@dataclass(frozen=True)
class Settings:
    """Settings that refuse some values."""

    epochs: int = 3
    rates: tuple[float, ...] = (0.1,)
    derived: int = field(default=7, init=False)

    def __post_init__(self):
        if self.epochs == 13:
            raise ValueError("epochs: expected another number.")


class Fitted(NamedTuple):
    """A model of anything."""

    names: Any
    config: Any
    params: Any = None


NUMBERS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4)
)
LEAVES = st.one_of(
    NUMBERS,
    arrays(),
    st.sampled_from([np.float32(2.5), np.int64(3), np.bool_(True), np.str_("ab")]),
    st.lists(st.text(max_size=3), max_size=3).map(lambda text: np.array(text, "<U3")),
)
VALUES = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        st.lists(parts, max_size=3),
        st.lists(parts, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), parts, max_size=3),
        st.builds(Fitted, parts, st.builds(Settings, st.integers(14)), parts),
        st.builds(Settings, st.integers(0, 12), st.tuples(st.floats(0, 1))),
    ),
    max_leaves=8,
)
quickly = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def again(path: Path, value):
    save(path, KIND, value)
    return load(path, KIND, "infosem example", (Fitted, Settings))


def assert_same(one, other):
    """Fail unless two values agree in types, in order and to the bit."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, dict):
        assert list(one) == list(other)
        assert_same(list(one.values()), list(other.values()))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for parts in zip(one, other, strict=True):
            assert_same(*parts)
    elif isinstance(one, Settings):
        assert_same(vars(one), vars(other))
    else:
        assert one == other


@quickly
@given(value=VALUES)
def test_any_value_comes_back(tmp_path: Path, value):
    assert_same(again(tmp_path / "a.npz", value), value)
    assert [each.name for each in tmp_path.iterdir()] == ["a.npz"]


def test_arrays_of_jax_random_keys_and_graphs(tmp_path: Path):
    graph = sparse.random_array((5, 4), density=0.5, rng=0).tocsr()
    value = {
        "half": jnp.arange(3, dtype=jnp.bfloat16),
        "keys": jax.random.split(jax.random.key(1, impl="rbg")),
        "graph": graph,
        "nan": float("nan"),
        "big endian": np.arange(3, dtype=">f4"),
    }
    back = again(tmp_path / "a.npz", value)
    assert_same(back["half"], np.asarray(value["half"]))
    assert back["keys"].dtype == value["keys"].dtype
    assert (jax.random.key_data(back["keys"]) == jax.random.key_data(value["keys"])).all()
    assert type(back["graph"]) is type(graph)
    np.testing.assert_array_equal(back["graph"].toarray(), graph.toarray())
    assert np.isnan(back["nan"])
    np.testing.assert_array_equal(back["big endian"], value["big endian"])


def test_what_is_shared_is_written_once(tmp_path: Path):
    x = np.arange(100_000.0)
    back = again(tmp_path / "a.npz", (x, {"x": x}))
    assert (tmp_path / "a.npz").stat().st_size < 1.1 * x.nbytes
    assert back[0] is back[1]["x"]


@pytest.mark.parametrize("value", [{1, 2}, object(), Settings, b"ab", 1j, np.array([{}], object)])
def test_what_cannot_be_kept_is_refused_and_nothing_is_written(tmp_path: Path, value):
    with pytest.raises(TypeError, match=r"Expected (names, numbers|arrays of numbers)"):
        save(tmp_path / "a.npz", KIND, [value])
    assert not list(tmp_path.iterdir())


EXAMPLE = Fitted(("a", "b"), Settings(5), {"W": np.arange(6.0).reshape(2, 3), 3: [None, True]})


@settings(quickly, max_examples=300)
@given(data=st.data())
def test_changed_bytes_are_refused_or_harmless(tmp_path: Path, data):
    path = tmp_path / "a.npz"
    save(path, KIND, EXAMPLE)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(content) - 1, 0)))
        part = data.draw(st.binary(min_size=1, max_size=8))
        match data.draw(st.sampled_from(["change", "insert", "remove", "cut"])):
            case "change":
                content[at : at + len(part)] = part
            case "insert":
                content[at:at] = part
            case "remove":
                del content[at : at + len(part)]
            case "cut":
                del content[at + 1 :]
    path.write_bytes(content)
    try:
        back = load(path, KIND, "infosem example", (Fitted, Settings))
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert_same(back, EXAMPLE)


JSON = st.recursive(
    st.one_of(NUMBERS, st.sampled_from(["tuple", "dict", "array", "of", "csr", "key", "Fitted"])),
    lambda parts: st.one_of(st.lists(parts, max_size=5), st.dictionaries(st.text(), parts)),
)


@quickly
@given(form=JSON)
def test_forms_that_make_no_sense_are_refused(tmp_path: Path, form):
    path = tmp_path / "a.npz"
    archive.write(path, [np.zeros(2)], {"kind": KIND, "form": ["of", form]})
    with pytest.raises(ValueError, match=r"a\.npz: cannot be used as file of infosem example: "):
        load(path, KIND, "infosem example", (Fitted, Settings))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (["of", "Path", [], []], "it holds Path, which is no part of such a file"),
        (["of", "Settings", ["epochs"], [13]], "epochs: expected another number"),
        (["of", "Settings", ["epoch"], [3]], "unexpected keyword argument 'epoch'"),
        (["of", "Fitted", ["names"], [3]], "missing 1 required .* 'config'"),
        (["array", 7], "list index out of range"),
        (["csr", [2, 2], ["array", 0], ["array", 1], ["array", 1]], "ind|axis"),
        (["frozenset", []], "it holds 'frozenset', which this version does not know"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, form, message: str):
    path = tmp_path / "a.npz"
    archive.write(path, [np.ones(2), np.array([0, 9, 9])], {"kind": KIND, "form": form})
    with pytest.raises(ValueError, match=message) as error:
        load(path, KIND, "infosem example", (Fitted, Settings))
    assert str(error.value).startswith(f"{path}: cannot be used as file of infosem example: ")


def test_nested_beyond_measure(tmp_path: Path):
    path, form = tmp_path / "a.npz", '["list", [' * 100_000 + "]]" * 100_000
    archive.write(path, [], {"kind": KIND})
    with np.load(path) as file:
        header = json.loads(file["record"].tobytes())
    text = json.dumps(header).replace('"kind"', f'"form": {form}, "kind"')
    np.savez(path, record=np.frombuffer(text.encode(), np.uint8))
    with pytest.raises(ValueError, match="recursion"):
        load(path, KIND, "infosem example", ())


def test_settings_got_since_then_stand_at_their_defaults(tmp_path: Path):
    archive.write(
        tmp_path / "a.npz", [], {"kind": KIND, "form": ["of", "Settings", ["epochs"], [5]]}
    )
    found = load(tmp_path / "a.npz", KIND, "infosem example", (Settings,))
    assert found == Settings(epochs=5)


def test_missing_other_and_older_files(tmp_path: Path):
    path = tmp_path / "a.npz"
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(path, KIND, "infosem example", ())
    save(path, "infosem_jax example 0", EXAMPLE)
    with pytest.raises(ValueError, match=f"expected '{KIND}', found 'infosem_jax example 0'"):
        load(path, KIND, "infosem example", (Fitted, Settings))
    archive.write(path, [], {"seconds": 3})
    with pytest.raises(ValueError, match=f"expected '{KIND}', found None"):
        load(path, KIND, "infosem example", ())
    np.savez(path, infosem_fit=np.zeros(3, np.uint8), weight=np.zeros(3))
    with pytest.raises(ValueError, match="was not written by this version of infosem_jax"):
        load(path, KIND, "infosem example", ())


def test_sizes_are_checked_before_memory_is_taken(tmp_path: Path):
    path = tmp_path / "a.npz"
    archive.write(path, [np.zeros(4)], {"kind": KIND, "form": ["array", 0]})
    with np.load(path) as file:
        header = json.loads(file["record"].tobytes())
    for shape in ([2**40], [2**62, 0, -1], [5], ["4"], [2**70]):
        header["arrays"] = [[shape, "float64"]]
        told = json.dumps([header["arrays"], header["record"]]).encode()
        header["sha256"] = hashlib.sha256(told + bytes(32)).hexdigest()
        text = json.dumps(header).encode()
        np.savez(path, a00000=np.zeros(32, np.uint8), record=np.frombuffer(text, np.uint8))
        with pytest.raises(ValueError, match=r"a\.npz: "):
            load(path, KIND, "infosem example", ())
