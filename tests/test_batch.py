"""Grids written to folders: names that stay inside, lines that are true, runs that go on."""

import csv
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infosem_jax.data.dataset import Dataset
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.engine.interrupts import Interrupted
from infosem_jax.grn import batch, run_folder
from infosem_jax.grn.batch import checkpoint_folder, folders_of, identity
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit
from infosem_jax.grn.networks import Network
from infosem_jax.grn.prepare import Job
from infosem_jax.grn.priors.binding import Priors
from infosem_jax.grn.priors.registry import from_record, read_priors
from infosem_jax.grn.result import Fit, network

CONFIG = Config(rows="regulators", epochs=2, hidden=8, knots=16)
DATA = simulate(SimulationConfig(genes=8, regulators=4, cells=30), 0).data
HOSTILE = ("..", ".", "", "../../x", "/etc", "a/b", ".a", "a\nb", "a\0b", "%", "NA", "a*?")


@pytest.fixture
def data() -> Dataset:
    return DATA


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return fit(DATA, config=CONFIG, seeds=2)


@pytest.fixture
def trained(fitted: Fit, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Replace training by a result at hand; returns the jobs that were trained."""
    done: list[Job] = []

    def fit_many(datasets, priors, *, skip, **_):
        for job in (Job(name, prior, "") for name in datasets for prior in priors):
            if job not in skip:
                done.append(job)
                yield job, fitted

    monkeypatch.setattr(batch, "fit_many", fit_many)
    return done


LAPLACE = read_priors(["laplace"], ["none"])


def run_grid(datasets: dict[str, Dataset], out: Path, priors=LAPLACE, **options) -> pd.DataFrame:
    options = {"config": CONFIG, "seeds": 2, "record": {"command": "a test"}} | options
    return batch.run_grid(datasets, priors, out, **options)


def inside(out: Path, name: str) -> Path:
    return folders_of(out, [name, f"{name} other"], LAPLACE)[Job(name, "laplace", "")]


@given(name=st.text() | st.sampled_from(HOSTILE))
def test_a_folder_lies_in_out_whatever_its_name(name: str):
    out = Path("somewhere", "out")
    folder = inside(out, name)
    assert folder.parts[:2] == out.parts and len(folder.parts) == 4
    assert not folder.parts[2].startswith(".")
    assert folder.parts[2].isprintable()


def test_plain_names_are_kept():
    for name in ("T cell", "CD4+ T(h)", "γδ T", "a_b", "x.v2"):
        assert inside(Path("out"), name) == Path("out", name, "laplace")


@pytest.mark.parametrize("names", [("a/b", "a_b"), ("", "/"), ("..", "_."), ("a:b", "a*b")])
def test_names_that_would_share_a_folder_are_refused(
    data: Dataset, trained: list[Job], tmp_path: Path, names: tuple[str, ...]
):
    with pytest.raises(ValueError, match="names that make different folders"):
        run_grid(dict.fromkeys(names, data), tmp_path / "out")
    assert not trained and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_written_outside_out(
    data: Dataset, trained: list[Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
):
    def write_run(folder: Path, data: Dataset, fitted: Fit, *_, **__) -> Network:
        (folder / "it").write_text("")
        return network(fitted)

    # Only where files go matters here.
    monkeypatch.setattr(run_folder, "write_run", write_run)
    out = tmp_path / "deep" / "out"
    table = run_grid({name: data, "other": data}, out)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert len(list(out.iterdir())) == 3
    with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["data"] for line in lines] == [name, "other"] == list(table["data"])
    for line in lines:
        assert (Path(line["folder"]) / "it").exists()
        assert (line["seeds"], line["sound_seeds"], line["prior"]) == ("2", "2", "laplace")
    assert [job.data for job in trained] == [name, "other"]


@pytest.mark.parametrize("name", ["x" * 300, "é" * 150, "summary.csv"])
def test_names_that_no_folder_can_have_are_refused(
    data: Dataset, trained: list[Job], tmp_path: Path, name: str
):
    with pytest.raises(ValueError, match="rename the data"):
        run_grid({name: data, "other": data}, tmp_path / "out")
    assert not trained and not list(tmp_path.iterdir())


def test_one_job_fills_out_itself(data: Dataset, trained: list[Job], tmp_path: Path):
    out = tmp_path / "out"
    told = []
    table = run_grid({"../x": data}, out, on_result=told.append)
    assert list(table["folder"]) == [str(out)]
    assert (out / "edges.csv").exists() and not (out / "summary.csv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert told[0].network.regulators == data.regulators and told[0].folder == out


def test_only_the_strongest_edges_are_listed(data: Dataset, trained: list[Job], tmp_path: Path):
    run_grid({"a": data}, tmp_path / "out", top=4)
    assert len(pd.read_csv(tmp_path / "out" / "edges.csv")) == 4


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder of known edges under several names."""
    for name in ("e.csv", "f.csv", "a/e.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"source,target\n{DATA.genes[0]},{DATA.genes[1]}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("effects", "edges", "names"),
    [
        (["laplace", "normal"], ["none"], ["laplace", "normal"]),
        (["laplace"], ["none", "known-edges=e.csv"], ["laplace", "laplace+known-edges"]),
        (["laplace", "graph=e.csv", "graph=f.csv"], ["none"], ["laplace", "graph=e", "graph=f"]),
        (["graph=e.csv", "graph=a/e.csv"], ["none"], ["graph=e.csv", "graph=a/e.csv"]),
        (["laplace"], ["graph=e.csv", "graph=f.csv"], ["laplace+graph=e", "laplace+graph=f"]),
    ],
)
def test_priors_are_called_by_what_tells_them_apart(
    files: Path, monkeypatch, effects, edges, names
):
    monkeypatch.chdir(files)
    found = read_priors(effects, edges)
    assert list(found) == names
    specs = [(effect, edge) for effect in effects for edge in edges]
    for priors, (effect, edge) in zip(found.values(), specs, strict=True):
        name, _, file = effect.partition("=")
        assert priors.record["effect"] == {"prior": name, **({"file": file} if file else {})}
        assert (priors.edge is None) == (edge == "none") == ("edge" not in priors.record)


@pytest.mark.parametrize(
    ("effects", "edges", "word"),
    [
        (["laplace", "laplace"], ["none"], "laplace"),
        (["graph=e.csv", "graph=e.csv"], ["none"], "graph=e.csv"),
        (["laplace"], ["none", "none"], "none"),
    ],
)
def test_equal_priors_are_refused(effects, edges, word):
    with pytest.raises(ValueError, match=f"differ, found {word} more than once"):
        read_priors(effects, edges)


def test_a_fit_that_diverged_is_told_and_not_written(
    data: Dataset, fitted: Fit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    lost = fitted._replace(diverged=np.zeros_like(fitted.diverged))
    half = fitted._replace(diverged=np.array([-1, 3], fitted.diverged.dtype))
    fits = {"good": half, "bad": lost}

    def fit_many(datasets, priors, **_):
        return ((Job(name, "laplace", ""), fits[name]) for name in datasets)

    monkeypatch.setattr(batch, "fit_many", fit_many)
    out = tmp_path / "out"
    networks = []
    table = run_grid(
        {"good": data, "bad": data}, out, on_result=lambda o: networks.append(o.network)
    )
    assert list(table["sound_seeds"]) == [1, 0]
    assert list(table["folder"]) == [str(out / "good" / "laplace"), ""]
    assert table["loss"][0] == pytest.approx(fitted.losses.train[0, -1])
    assert np.isnan(table["loss"][1])
    assert networks[0] is not None and networks[1] is None
    assert {path.name for path in out.iterdir()} == {"good", "summary.csv"}
    with pytest.raises(FloatingPointError, match="Every seed of every fit"):
        run_grid({"bad": data}, tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_what_is_finished_is_not_trained_again(
    data: Dataset, trained: list[Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    out, both = tmp_path / "out", {"a": data, "b": data}
    whole = batch.fit_many

    def cut(*arguments, **options):
        yield next(whole(*arguments, **options))
        raise Interrupted("there")

    monkeypatch.setattr(batch, "fit_many", cut)
    with pytest.raises(Interrupted):
        run_grid(both, out)
    monkeypatch.setattr(batch, "fit_many", whole)
    written = out / "a" / "laplace" / "edges.csv"
    first = written.stat().st_mtime_ns
    assert checkpoint_folder(out).exists()

    with pytest.raises(ValueError, match=r"--resume.*--overwrite"):
        run_grid(both, out)
    with pytest.raises(ValueError, match=r"key \(saved 0, now 5\)"):
        run_grid(both, out, key=5, resume=True)
    with pytest.raises(ValueError, match="cannot resume"):
        run_grid({"a": data, "c": data}, out, resume=True)
    assert len(trained) == 1

    table = run_grid(both, out, resume=True)
    assert [job.data for job in trained] == ["a", "b"]
    assert list(table["data"]) == ["a", "b"]
    assert written.stat().st_mtime_ns == first
    assert not checkpoint_folder(out).exists()
    assert len(pd.read_csv(out / "summary.csv")) == 2


def test_a_run_that_saved_nothing_leaves_nothing(
    data: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def fail(*_, **__):
        raise ValueError("These do not fit together.")

    monkeypatch.setattr(batch, "fit_many", fail)
    with pytest.raises(ValueError, match="do not fit"):
        run_grid({"a": data}, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_overwriting_drops_what_was_saved(data: Dataset, trained: list[Job], tmp_path: Path):
    out = tmp_path / "out"
    saved = checkpoint_folder(out)
    saved.mkdir()
    (saved / "group-000.npz").write_bytes(b"of another run")
    out.mkdir()
    (out / "edges.csv").write_text("old")
    with pytest.raises(ValueError, match="interrupted run"):
        run_grid({"a": data}, out)
    run_grid({"a": data}, out, overwrite=True)
    assert not saved.exists() and (out / "edges.csv").read_text() != "old"
    with pytest.raises(ValueError, match="not empty"):
        run_grid({"a": data}, out)
    assert len(trained) == 1


def test_overwriting_keeps_files_of_the_user(data: Dataset, trained: list[Job], tmp_path: Path):
    out = tmp_path / "out"
    run_grid({"a": data}, out)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"other files \(mine.txt\)"):
        run_grid({"a": data}, out, overwrite=True)
    assert (out / "mine.txt").read_text() == "mine" and (out / "edges.csv").exists()


def test_folders_that_cannot_be_written_are_refused(
    data: Dataset, trained: list[Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="expected a folder to write to, found a file"):
        run_grid({"a": data}, tmp_path / "file")
    with pytest.raises(ValueError, match="cannot write to"):
        run_grid({"a": data}, tmp_path / "file" / "out")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ValueError, match=r"cannot write to .*Permission denied"):
        run_grid({"a": data}, tmp_path / "out")
    assert not trained and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_identity_holds_all_that_results_depend_on(data: Dataset, tmp_path: Path):
    known = tmp_path / "known.csv"

    def of(label: int = 1, effect: str = "laplace", **changed):
        known.write_text(f"source,target,label\n{data.genes[0]},{data.genes[1]},{label}\n")
        priors = read_priors([effect], [f"known-edges={known}"])
        given = {"datasets": {"a": data}, "priors": priors, "config": CONFIG, "seeds": 2, "key": 0}
        return identity(**given | changed)

    first = of()
    assert of() == first
    moved = data._replace(x=np.asarray(data.x) + np.eye(*data.x.shape, dtype=data.x.dtype))
    others = [
        of(label=0),
        of(key=1),
        of(seeds=3),
        of(config=Config(rows="regulators", epochs=3)),
        of(effect="normal"),
        of(priors=LAPLACE),
        of(datasets={"a": moved}),
        of(datasets={"b": data}),
    ]
    assert all(other != first for other in others)


def test_priors_are_built_again_from_their_record(files: Path):
    edge = {"prior": "known-edges", "file": str(files / "e.csv"), "unknown": 0.2}
    priors = from_record({"effect": {"prior": "normal", "scale": 0.3}, "edge": edge})
    assert isinstance(priors, Priors) and priors.effect.scale == 0.3 and priors.edge.unknown == 0.2
    assert priors.record["edge"] == edge
