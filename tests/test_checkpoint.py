"""Checkpoints survive crashes, and nothing but the very same computation goes on from them."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from prior_table import ONE_NUMBER_FITS_ALL, embedding
from test_priors import NAMES, context_of, make_bound

from infosem_jax.data.dataset import dataset
from infosem_jax.engine.checkpoint import check_writable, load, read_record, save
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.interrupts import Interrupted, interrupts
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.types import Losses
from infosem_jax.grn.priors import GeneEmbedding
from infosem_jax.grn.priors.binding import GeneContext, bind

DTYPES = [
    "float32",
    "float64",
    "bfloat16",
    "float16",
    "int32",
    "uint8",
    "int8",
    "bool",
    "complex64",
]
RECORD = {
    "config": {"epochs": 3, "rates": [0.1, 0.2], "rows": "all"},
    "data": {"name": "hESC", "sha": "0" * 64},
    "versions": {"jax": "1.0"},
    "seeds": 2,
}


def example() -> dict:
    return {
        "W": np.arange(12, dtype=np.float32).reshape(3, 4),
        "half": jnp.arange(5, dtype=jnp.bfloat16),
        "best": (np.bool_(True), np.zeros((0, 3), np.int32), np.float32(2.5)),
    }


def same(one, other) -> bool:
    """Whether two trees agree to the bit."""
    leaves = list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
    return jax.tree.structure(one) == jax.tree.structure(other) and all(
        np.asarray(a).dtype == np.asarray(b).dtype
        and np.shape(a) == np.shape(b)
        and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in leaves
    )


def run(code: str, *words, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


@st.composite
def arrays(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    content = np.frombuffer(draw(st.binary(min_size=n, max_size=n)), np.uint8)
    if dtype == "bool":
        content = content % 2
    array = content.view(dtype).reshape(shape)
    return draw(st.sampled_from([array, np.asfortranarray(array), array[::-1] if shape else array]))


TREES = st.recursive(
    arrays(),
    lambda parts: st.one_of(
        st.lists(parts, max_size=3),
        st.tuples(parts, parts),
        st.dictionaries(st.text(max_size=3), parts, max_size=3),
    ),
    max_leaves=6,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=TREES)
def test_any_tree_comes_back_to_the_bit(tmp_path: Path, tree):
    path = tmp_path / "one.npz"
    save(path, tree, RECORD)
    back = load(path, tree, RECORD)
    assert same(back, tree)
    assert all(leaf.flags.writeable for leaf in jax.tree.leaves(back))
    assert read_record(path) == RECORD
    assert [each.name for each in tmp_path.iterdir()] == ["one.npz"]


def test_special_leaves(tmp_path: Path):
    big_endian = np.arange(3, dtype=">f4")
    tree = [example(), 3, 0.5, None, big_endian]
    save(tmp_path / "a.npz", tree, {})
    back = load(tmp_path / "a.npz", tree, {})
    assert same(back[0], example())
    assert back[0]["half"].dtype == jnp.bfloat16
    assert (int(back[1]), float(back[2]), back[3]) == (3, 0.5, None)
    np.testing.assert_array_equal(back[4], big_endian)


def test_shapes_are_enough_to_load(tmp_path: Path):
    save(tmp_path / "a.npz", example(), RECORD)
    like = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, example()))
    assert same(load(tmp_path / "a.npz", like, {}), example())


def test_no_second_copy_is_made(tmp_path: Path):
    code = """
import resource, sys, numpy as np
from infosem_jax.engine.checkpoint import load, save
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
tree = [np.ones(25 * 2**18, np.float32)] * 4
before = peak()
save(sys.argv[1], tree, {})
saved = peak()
load(sys.argv[1], tree, {})
print(saved - before, peak() - before)
"""
    done = run(code, tmp_path / "a.npz")
    assert done.returncode == 0, done.stderr
    saving, loading = map(int, done.stdout.split())
    # The tree has 100 MiB.
    assert saving < 30
    assert loading < 130


def test_truncated_files_are_refused(tmp_path: Path):
    path = tmp_path / "a.npz"
    save(path, example(), RECORD)
    content = path.read_bytes()
    chance = random.Random(0)
    for n in [0, 1, len(content) - 1, *(chance.randrange(len(content)) for _ in range(100))]:
        path.write_bytes(content[:n])
        with pytest.raises(ValueError, match=r"a\.npz: .*Remove it to begin anew, or restore"):
            load(path, example(), RECORD)


def test_a_flipped_bit_is_refused_or_harmless(tmp_path: Path):
    path = tmp_path / "a.npz"
    save(path, example(), RECORD)
    content = path.read_bytes()
    chance, refused = random.Random(0), 0
    for _ in range(600):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            back = load(path, example(), RECORD)
        except ValueError as error:
            assert "Remove it to begin anew" in str(error)
            refused += 1
        else:
            assert same(back, example())
            assert read_record(path) == RECORD
    assert refused > 300


def test_tampered_and_foreign_files_are_refused(tmp_path: Path):
    path = tmp_path / "a.npz"
    save(path, example(), RECORD)
    with np.load(path) as file:
        members = dict(file)
    header = json.loads(members["record"].tobytes())

    def store(**changes):
        np.savez(path, **(members | changes))

    def text(value):
        return np.frombuffer(json.dumps(value).encode(), np.uint8)

    bad = {
        "changed or damaged": [
            lambda: store(a00000=members["a00000"][::-1].copy()),
            lambda: store(record=text(header | {"record": RECORD | {"seeds": 3}})),
            lambda: store(record=text(header | {"arrays": header["arrays"][::-1]})),
        ],
        "expected format 1, found 2": [lambda: store(record=text(header | {"format": 2}))],
        "cannot be used as": [
            lambda: np.savez(path, x=np.arange(3)),
            lambda: np.savez(path, record=np.arange(3)),
            lambda: store(record=text([1, 2])),
            lambda: store(record=text({"format": 1})),
            lambda: store(record=np.frombuffer(b"\xff{", np.uint8)),
            lambda: store(a00000=members["a00000"].astype(np.float32)),
            lambda: path.write_text("nothing of this kind"),
            lambda: path.write_bytes(b"PK\x05\x06" + bytes(18)),
        ],
        "pickled objects": [lambda: store(a00000=np.array([{}], object))],
    }
    for words, makers in bad.items():
        for make in makers:
            make()
            with pytest.raises(ValueError, match=f"{words}.* Remove it to begin anew"):
                load(path, example(), RECORD)
    np.savez_compressed(path, **(members | {"a00000": np.zeros(2**26, np.uint8)}))
    with pytest.raises(ValueError, match="refused as damaged or hostile"):
        read_record(path)


def test_missing_files_and_folders(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="none"):
        load(tmp_path / "none", {}, {})
    with pytest.raises(ValueError, match="found a folder"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": RECORD["config"] | {"epochs": 4}}, ["config.epochs (saved 3, now 4)"]),
        (
            {"config": RECORD["config"] | {"rates": [0.1, 0.3]}},
            ["config.rates.1 (saved 0.2, now 0.3)"],
        ),
        (
            {"config": RECORD["config"] | {"rates": [0.1]}},
            ["config.rates (saved [0.1, 0.2], now [0.1])"],
        ),
        ({"data": RECORD["data"] | {"sha": "1" * 64}}, ["data.sha (saved 000000000000..., now 11"]),
        ({"versions": {"jax": "2.0"}}, ["versions.jax (saved 1.0, now 2.0)"]),
        (
            {"versions": {"numpy": "2"}},
            ["numpy (saved nothing, now 2)", "jax (saved 1.0, now nothing)"],
        ),
        ({"seeds": 3, "key": 1}, ["seeds (saved 2, now 3)", "key (saved nothing, now 1)"]),
    ],
)
def test_each_mismatch_is_named(tmp_path: Path, change: dict, words: list[str]):
    save(tmp_path / "a.npz", example(), RECORD)
    with pytest.raises(ValueError, match=r"cannot resume.*Start as it was started then") as caught:
        load(tmp_path / "a.npz", example(), RECORD | change)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert message.count("(saved ") == len(words)


def test_values_compare_as_json_holds_them(tmp_path: Path):
    record = {"rates": (0.1, 1e-300), "more": {"a": None}}
    save(tmp_path / "a.npz", [], record)
    assert load(tmp_path / "a.npz", [], record) == []


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"W": np.zeros((3, 4), np.float32)}, "expected 1 arrays, found 5"),
        (
            example() | {"W": np.zeros((4, 3), np.float32)},
            r"float32 of shape \(4, 3\) at \['W'\], found float32 of shape \(3, 4\)",
        ),
        (example() | {"half": np.zeros(5, np.float16)}, r"float16 .*\['half'\], found bfloat16"),
    ],
)
def test_other_states_are_refused(tmp_path: Path, like, words: str):
    save(tmp_path / "a.npz", example(), RECORD)
    with pytest.raises(ValueError, match=f"{words}.*; was it saved by another version"):
        load(tmp_path / "a.npz", like, RECORD)


# Children are forked, so that modules are imported once.
KILLER = """
import os, random, signal, sys, time
import numpy as np
from infosem_jax.engine.checkpoint import save
chance = random.Random(0)
for i in range(20):
    folder = f"{sys.argv[1]}/{i}"
    os.mkdir(folder)
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        n = 0
        while True:
            n += 1
            save(f"{folder}/a.npz", [np.full((4, 50_000), n, np.int32)], {"n": n})
            os.write(tell, f"{n} ".encode())
    os.close(tell)
    told = os.read(hear, 2)
    time.sleep(chance.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told += os.read(hear, 2**16)
    os.close(hear)
    print(told.split()[-1].decode())
"""


def test_a_kill_leaves_the_old_or_the_new_file(tmp_path: Path):
    done = run(KILLER, tmp_path)
    assert done.returncode == 0, done.stderr
    drafts, like = 0, [np.zeros((4, 50_000), np.int32)]
    for i, told in enumerate(map(int, done.stdout.split())):
        path = tmp_path / str(i) / "a.npz"
        n = read_record(path)["n"]
        (saved,) = load(path, like, {"n": n})
        assert (saved == n).all()
        assert n - told in (0, 1)
        left = {each.name for each in path.parent.iterdir()}
        assert left <= {"a.npz", ".a.npz.draft"}
        drafts += len(left) - 1
        save(path, like, {})
        assert [each.name for each in path.parent.iterdir()] == ["a.npz"]
    assert i == 19
    assert drafts > 0, "no kill came while a file was being written"


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path):
    save(tmp_path / "a.npz", example(), RECORD)
    before = (tmp_path / "a.npz").read_bytes()
    code = """
import resource, signal, sys, numpy as np
from infosem_jax.engine.checkpoint import save
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for name in ("a.npz", "new.npz"):
    try:
        save(f"{sys.argv[1]}/{name}", [np.zeros(10**6)], {})
    except OSError as error:
        print(error.errno, error)
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "cannot save (File too large), the last one is as it was; make" in first
    assert "a.npz" in first
    assert "nothing was saved; make room" in second
    assert (tmp_path / "a.npz").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["a.npz"]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path):
    save(tmp_path / "a.npz", example(), RECORD)
    tmp_path.chmod(0o555)
    code = """
import os
from infosem_jax.engine.checkpoint import check_writable, load, save
# The superuser may write anywhere.
if os.geteuid() == 0:
    os.setuid(65534)
for attempt in (lambda: save("a.npz", [], {}), lambda: check_writable(".", 1)):
    try:
        attempt()
    except (OSError, ValueError) as error:
        print(type(error).__name__, error)
"""
    try:
        done = run(code, cwd=tmp_path)
    finally:
        tmp_path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    saving, checking = done.stdout.splitlines()
    assert saving.startswith("PermissionError")
    assert "(Permission denied), the last one is as it was" in saving
    assert checking.startswith("ValueError .: cannot save checkpoints there (Permission denied)")
    assert same(load(tmp_path / "a.npz", example(), RECORD), example())


def test_a_file_in_place_of_the_folder(tmp_path: Path):
    (tmp_path / "file").write_text("kept")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=r"cannot save checkpoints there .*choose another"):
            check_writable(folder, 1)
        with pytest.raises(OSError, match=r"cannot save .*, nothing was saved"):
            save(folder / "a.npz", example(), {})
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        save(tmp_path / "folder.npz", example(), {})
    assert {each.name for each in tmp_path.iterdir()} == {"file", "folder.npz"}


def test_room_is_looked_for_before_the_work(tmp_path: Path):
    check_writable(tmp_path / "new" / "folder", 1000)
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    with pytest.raises(ValueError, match=r"take up to \d+ MiB, found \d+ MiB free"):
        check_writable(tmp_path, 2**60)


def test_what_is_no_record_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(TypeError):
        save(tmp_path / "a.npz", example(), {"of": object()})
    with pytest.raises(TypeError):
        save(tmp_path / "a.npz", [np.array([{}])], {})
    assert not list(tmp_path.iterdir())


STOPPING = """
import signal, sys, time
from infosem_jax.engine.checkpoint import save
from infosem_jax.engine.interrupts import interrupts
own = lambda *_: None
signal.signal(signal.SIGTERM, own)
# What is started in the background inherits a Ctrl-C that is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with interrupts() as asked:
    assert signal.getsignal(signal.SIGTERM) is not own
    print("ready", flush=True)
    while not asked():
        time.sleep(0.005)
    save(sys.argv[1], [], {"stopped": True})
    print("saved", flush=True)
    if sys.argv[2] == "hang":
        time.sleep(60)
assert signal.getsignal(signal.SIGTERM) is own
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
sys.exit(3)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", ["end", "hang"])
def test_a_signal_is_a_wish_and_a_second_one_an_order(tmp_path: Path, number: int, after: str):
    path = tmp_path / "a.npz"
    command = [sys.executable, "-c", STOPPING, str(path), after]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout.readline() == "ready\n"
        job.send_signal(number)
        assert job.stdout.readline() == "saved\n"
        assert read_record(path) == {"stopped": True}
        if after == "hang":
            job.send_signal(number)
        assert job.wait(60) == (3 if after == "end" else -number)


def test_handlers_are_restored_after_an_error():
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(RuntimeError), interrupts() as asked:
        assert not asked()
        raise RuntimeError
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


def test_other_threads_leave_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with interrupts() as asked:
            seen.append((asked(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


STATE = {"W": jnp.arange(6.0).reshape(2, 3), "step": jnp.array([3, 4])}
SHAPES = jax.eval_shape(lambda: STATE)
LOSSES = Losses(np.ones((2, 5), np.float32), np.full((2, 5), np.nan, np.float32))


def identity(**changes):
    return lambda: {"key": 0, "config": {"epochs": 3}} | changes


def test_a_saver_gives_back_state_losses_and_seconds(tmp_path: Path):
    first = Saver(tmp_path / "c", {"jax": "1"}, every=0.0)
    assert first.open(3, SHAPES, identity()) is None
    first.update((STATE, LOSSES), 12.5, 5)
    again = partial(Saver, tmp_path / "c", resume=True)
    (state, losses), seconds = again({"jax": "1"}).open(3, SHAPES, identity())
    assert same(state, STATE)
    assert isinstance(losses, Losses)
    assert same(losses, LOSSES)
    assert seconds == 12.5
    # Another group, and a start that is no resumption, begin anew.
    assert again({"jax": "1"}).open(0, SHAPES, identity()) is None
    assert Saver(tmp_path / "c", {"jax": "1"}).open(3, SHAPES, identity()) is None
    with pytest.raises(ValueError, match=r"versions\.jax \(saved 1, now 2\)"):
        again({"jax": "2"}).open(3, SHAPES, identity())
    with pytest.raises(ValueError, match=r"config\.epochs \(saved 3, now 4\)"):
        again({"jax": "1"}).open(3, SHAPES, identity(config={"epochs": 4}))
    with pytest.raises(ValueError, match=r"expected float32 of shape \(1, 3\) at .*'W'"):
        other = SHAPES | {"W": jax.ShapeDtypeStruct((1, 3), np.float32)}
        again({"jax": "1"}).open(3, other, identity())
    (tmp_path / "c" / "group-003.npz").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"group-003\.npz: .*Remove it to begin anew"):
        again({"jax": "1"}).open(3, SHAPES, identity())


def test_a_saver_forgets_one_group(tmp_path: Path):
    saver = Saver(tmp_path, {}, every=0.0)
    for group in (0, 1):
        saver.open(group, SHAPES, identity())
        saver.update((STATE, LOSSES), 1.0, 5)
    for _ in range(2):
        saver.forget(0)
        assert [each.name for each in tmp_path.iterdir()] == ["group-001.npz"]


def test_a_saver_waits_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    saver = Saver(tmp_path, {}, every=10.0)
    saver.open(0, SHAPES, identity())
    saved = []
    for now in (105.0, 109.9, 110.0, 119.0, 121.0):
        saver.update((STATE, LOSSES), now, 5)
        path = tmp_path / "group-000.npz"
        saved.append(read_record(path)["seconds"] if path.exists() else None)
    assert saved == [None, None, 110.0, 110.0, 121.0]


def test_a_saver_stops_once_it_has_saved(tmp_path: Path):
    wishes = iter([False, True])
    saver = Saver(tmp_path, {}, every=1e9, stop=lambda: next(wishes))
    saver.open(0, SHAPES, identity())
    saver.update((STATE, LOSSES), 1.0, 5)
    assert not list(tmp_path.iterdir())
    with pytest.raises(Interrupted):
        saver.update((STATE, LOSSES), 2.0, 5)
    assert read_record(tmp_path / "group-000.npz")["seconds"] == 2.0


def test_a_saver_finds_a_bad_folder_before_the_work(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="choose another folder"):
        Saver(tmp_path / "file", {}).open(0, SHAPES, identity())


def cells(**changes):
    x = np.random.default_rng(0).poisson(3, (12, 4)).astype(np.float32)
    return dataset(x, ["a", "b", "c", "d"], **({"regulators": ["a", "b"]} | changes))


class Own:
    """A prior of a user's own making."""

    def __init__(self, table: pd.DataFrame, lock: bool = False):
        self.table = table
        if lock:
            self.lock = threading.Lock()

    def __call__(self, context: GeneContext) -> dist.Distribution:
        return dist.Normal(0.0, float(self.table["scale"].mean()))


def closing_over(scale, default=1.0):
    def prior(context: GeneContext, factor=default) -> dist.Distribution:
        return dist.Normal(0.0, scale * factor)

    return prior


def recursive(n: int):
    def prior(context: GeneContext) -> dist.Distribution:
        return prior(context) if n else dist.Normal(0.0, 1.0)

    return prior


def table(scale: float) -> pd.DataFrame:
    return pd.DataFrame({"scale": [scale, 1.0]}, index=["x", "y"])


def things() -> dict:
    """Return all kinds of things that a fit depends on; no two have equal fingerprints."""
    context = GeneContext(("a", "b", "c"), ("a",), 9)
    users = {
        "closure": closing_over(0.1),
        "other closure": closing_over(0.2),
        "array in a closure": closing_over(np.array([0.1, 0.2, 0.3])),
        "function in a closure": closing_over(closing_over(0.1)),
        "default": closing_over(0.1, default=2.0),
        "constant": lambda context: dist.Normal(0.0, 0.1),
        "other constant": lambda context: dist.Normal(0.0, 0.2),
        "set": lambda context: dist.Normal(0.0, 0.1 if context.site in {"effect", "e", "x"} else 1),
        "recursive": recursive(0),
        "otherwise recursive": recursive(1),
        "partial": partial(closing_over, 0.3),
        "other partial": partial(closing_over, scale=0.3),
        "object": Own(table(0.1)),
        "other object": Own(table(0.2)),
        "lock": Own(table(0.1), lock=True),
        "library": jax.nn.relu,
        "other library": jnp.tanh,
        "method": Own(table(0.1)).__call__,
    }
    arrays = {
        "0-d": np.float32(1),
        "1-d": np.ones(1, np.float32),
        "2-d": np.ones((1, 1), np.float32),
        "row": np.ones((1, 4), np.float32),
        "column": np.ones((4, 1), np.float32),
        "float64": np.ones(1),
        "bits": np.ones(1, np.float32).view(np.int32),
        "bfloat16": jnp.ones(1, jnp.bfloat16),
        "empty": np.zeros((0, 3)),
        "otherwise empty": np.zeros((3, 0)),
        "minus zero": np.array([-0.0]),
        "zero": np.array([0.0]),
        "names": np.array(["a", "b"]),
        "objects": np.array(["a", "b"], object),
        "key": jax.random.key(0),
        "other key": jax.random.key(1),
        "data of a key": jax.random.key_data(jax.random.key(0)),
    }
    plain = {
        "text": "1",
        "bytes": b"1",
        "int": 1,
        "float": 1.0,
        "bool": True,
        "none": None,
        "none in words": "None",
        "joined": ["ab", "c"],
        "joined otherwise": ["a", "bc"],
        "tuple": ("ab", "c"),
        "nested": [["ab"], "c"],
        "dict": {"a": 1, "b": 2},
        "crossed": {"a": 2, "b": 1},
        "numbers as keys": {1: "a"},
        "words as keys": {"1": "a"},
        "frozenset": frozenset({"a", "b"}),
    }
    distributions = {
        "normal": dist.Normal(0.0, 1.0),
        "laplace": dist.Laplace(0.0, 1.0),
        "scale": dist.Normal(0.0, 2.0),
        "expanded": dist.Normal(0.0, 1.0).expand((3, 8)),
        "turned": dist.Normal(0.0, 1.0).expand((8, 3)),
        "events": dist.Normal(0.0, 1.0).expand((3, 8)).to_event(1),
        "more events": dist.Normal(0.0, 1.0).expand((3, 8)).to_event(2),
        "bounds": dist.Uniform(0.0, 1.0),
        "other bounds": dist.Uniform(0.0, 2.0),
    }
    renamed = cells()._replace(genes=("a", "b", "d", "c"))
    data = {
        "data": cells(),
        "regulators": cells(regulators=["a", "c"]),
        "name": cells(name="other"),
        "genes": renamed,
        "value": cells()._replace(x=cells().x + np.eye(12, 4, dtype=np.float32)),
        "as a tuple": tuple(cells()),
    }
    sizes = {
        f"embedding {hidden} {rank}": bind(
            GeneEmbedding(embedding(), 0.1, hidden=hidden, rank=rank), context_of("GeneEmbedding")
        )
        for hidden, rank in ((8, 4), (16, 4), (8, 2))
    }
    priors = {f"{name} {seed}": make_bound(name, seed) for name in NAMES for seed in (0, 1)}
    for name in ONE_NUMBER_FITS_ALL & set(NAMES):
        del priors[f"{name} 1"]
    no_priors = {"function in a closure", "otherwise recursive", "partial", "other partial"}
    no_priors |= {"library", "other library"}
    bound = {f"bound {n}": bind(users[n], context) for n in users if n not in no_priors}
    return users | bound | arrays | plain | distributions | data | sizes | priors


def test_different_things_have_different_fingerprints():
    seen = {}
    for name, value in things().items():
        mark = fingerprint(value)
        assert mark not in seen, f"{name} is taken for {seen[mark]}"
        seen[mark] = name


@pytest.mark.slow
def test_equal_things_have_equal_fingerprints_in_every_process():
    code = "import json, test_checkpoint as t; print(json.dumps(t.marks()))"
    expected = marks()
    assert marks() == expected
    folder = Path(__file__).parent
    jobs = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        jobs.append(
            subprocess.Popen(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
            )
        )
    # Checks of shapes wrap functions here, and not there: what is wrapped counts.
    told = [json.loads(job.communicate(timeout=300)[0]) for job in jobs]
    assert told[0] == told[1]
    differing = {name for name in expected if told[0][name] != expected[name]}
    assert not differing


def marks() -> dict[str, str]:
    return {name: fingerprint(value) for name, value in things().items()}


MOVED = """
from dataclasses import dataclass
from typing import NamedTuple

@dataclass(frozen=True)
class Prior:
    scale: float

    def __call__(self, context):
        return half(self.scale)

class State(NamedTuple):
    prior: Prior

class Plain:
    def __init__(self):
        self.prior = Prior(0.1)

def half(x):
    return x / 2

things = [State(Prior(0.1)), Plain(), half, Prior(0.2).__call__, lambda x: half(x)]
"""


def test_the_module_of_a_class_or_function_does_not_matter():
    marks = []
    for name in ("before", "after.the.move"):
        module = {"__name__": name}
        # Dataclasses look their module up.
        sys.modules[name] = sys.modules[__name__]
        exec(MOVED, module)
        del sys.modules[name]
        marks.append([fingerprint(each) for each in module["things"]])
    assert marks[0] == marks[1]
    assert len(set(marks[0])) == len(marks[0])


def test_where_an_array_lies_does_not_matter():
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    equal = [x, np.asfortranarray(x), jnp.asarray(x), np.repeat(x, 2, 1)[:, ::2]]
    assert len(set(map(fingerprint, equal))) == 1
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(TypeError, match=r"Expected arrays, names and numbers, found .*lock"):
        fingerprint({"a": threading.Lock()})
