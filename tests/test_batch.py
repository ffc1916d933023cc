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
from infosem_jax.grn import batch
from infosem_jax.grn.batch import Grid, checkpoint_folder, folder_of, run_grid
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit
from infosem_jax.grn.networks import Network
from infosem_jax.grn.prepare import Job
from infosem_jax.grn.priors.registry import build
from infosem_jax.grn.result import Fit, network
from infosem_jax.grn.run_folder import NamedPrior

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


def prior(name: str, file: str | Path = "", site: str = "effect", **settings) -> NamedPrior:
    recorded = {"prior": name, **({"file": str(file)} if file else {}), **settings}
    return NamedPrior(site, name, "What it is.", build(name, file or None, site, {}), recorded)


def of_file(name: str, file: str) -> NamedPrior:
    return prior("laplace")._replace(name=name, settings={"prior": name, "file": file})


def grid(datasets: dict[str, Dataset], effects=None, edges=(None,), **changed) -> Grid:
    effects = [prior("laplace")] if effects is None else effects
    record = {"command": "a test"}
    return Grid(datasets, effects, list(edges), CONFIG, 2, 0, record)._replace(**changed)


def inside(out: Path, name: str) -> Path:
    both = grid(dict.fromkeys((name, f"{name} other"), DATA))
    return folder_of(out, both, Job(name, "laplace", ""))


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
        run_grid(grid(dict.fromkeys(names, data)), tmp_path / "out")
    assert not trained and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_written_outside_out(
    data: Dataset, trained: list[Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
):
    def write_run(folder: Path, data: Dataset, fitted: Fit, *_, **__) -> Network:
        (folder / "it").write_text("")
        return network(fitted)

    # Only where files go matters here.
    monkeypatch.setattr(run, "write_run", write_run)
    out = tmp_path / "deep" / "out"
    table = run_grid(grid({name: data, "other": data}), out)
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
        run_grid(grid({name: data, "other": data}), tmp_path / "out")
    assert not trained and not list(tmp_path.iterdir())


def test_one_job_fills_out_itself(data: Dataset, trained: list[Job], tmp_path: Path):
    out = tmp_path / "out"
    told = []
    table = run_grid(grid({"../x": data}), out, on_result=told.append)
    assert list(table["folder"]) == [str(out)]
    assert (out / "edges.csv").exists() and not (out / "summary.csv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert told[0].network.regulators == data.regulators and told[0].folder == out


def test_only_the_strongest_edges_are_listed(data: Dataset, trained: list[Job], tmp_path: Path):
    run_grid(grid({"a": data}, top=4), tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out" / "edges.csv")) == 4


@pytest.mark.parametrize(
    ("effects", "edges", "names"),
    [
        ([prior("laplace"), prior("normal")], [None], ["laplace", "normal"]),
        ([prior("laplace")], [None, of_file("k", "e.csv")], ["laplace", "laplace+k"]),
        (
            [prior("laplace"), of_file("g", "a/x.npz"), of_file("g", "y.npz")],
            [None],
            ["laplace", "g=x", "g=y"],
        ),
        ([of_file("g", "a/x.npz"), of_file("g", "b/x.npz")], [None], ["g=a/x.npz", "g=b/x.npz"]),
        (
            [prior("laplace")],
            [of_file("k", "e.csv"), of_file("k", "f.csv")],
            ["laplace+k=e", "laplace+k=f"],
        ),
    ],
)
def test_priors_are_called_by_what_tells_them_apart(data: Dataset, effects, edges, names):
    found = grid({"a": data}, effects, edges).priors()
    assert list(found) == names
    wanted = [[part for part in (e, k) if part is not None] for e in effects for k in edges]
    assert [list(map(id, parts)) for parts in found.values()] == [
        list(map(id, parts)) for parts in wanted
    ]


@pytest.mark.parametrize(
    ("effects", "edges", "word"),
    [
        ([prior("laplace"), prior("laplace")], [None], "laplace"),
        ([of_file("g", "x"), of_file("g", "x")], [None], "g=x"),
        ([prior("laplace")], [None, None], "none"),
    ],
)
def test_equal_priors_are_refused(data: Dataset, tmp_path: Path, effects, edges, word):
    with pytest.raises(ValueError, match=f"differ, found {word} more than once"):
        run_grid(grid({"a": data}, effects, edges), tmp_path / "out")
    assert not list(tmp_path.iterdir())


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
        grid({"good": data, "bad": data}), out, on_result=lambda o: networks.append(o.network)
    )
    assert list(table["sound_seeds"]) == [1, 0]
    assert list(table["folder"]) == [str(out / "good" / "laplace"), ""]
    assert table["loss"][0] == pytest.approx(fitted.losses.train[0, -1])
    assert np.isnan(table["loss"][1])
    assert networks[0] is not None and networks[1] is None
    assert {path.name for path in out.iterdir()} == {"good", "summary.csv"}
    with pytest.raises(FloatingPointError, match="Every seed of every fit"):
        run_grid(grid({"bad": data}), tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_what_is_finished_is_not_trained_again(
    data: Dataset, trained: list[Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    out, both = tmp_path / "out", grid({"a": data, "b": data})
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
        run_grid(both._replace(key=5), out, resume=True)
    with pytest.raises(ValueError, match="cannot resume"):
        run_grid(grid({"a": data, "c": data}), out, resume=True)
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
        run_grid(grid({"a": data}), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_overwriting_drops_what_was_saved(data: Dataset, trained: list[Job], tmp_path: Path):
    out = tmp_path / "out"
    saved = checkpoint_folder(out)
    saved.mkdir()
    (saved / "group-000.npz").write_bytes(b"of another run")
    out.mkdir()
    (out / "old.txt").write_text("old")
    with pytest.raises(ValueError, match="interrupted run"):
        run_grid(grid({"a": data}), out)
    run_grid(grid({"a": data}), out, overwrite=True)
    assert not saved.exists() and not (out / "old.txt").exists()
    with pytest.raises(ValueError, match="not empty"):
        run_grid(grid({"a": data}), out)
    assert len(trained) == 1


def test_folders_that_cannot_be_written_are_refused(
    data: Dataset, trained: list[Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="expected a folder to write to, found a file"):
        run_grid(grid({"a": data}), tmp_path / "file")
    with pytest.raises(ValueError, match="cannot write to"):
        run_grid(grid({"a": data}), tmp_path / "file" / "out")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ValueError, match=r"cannot write to .*Permission denied"):
        run_grid(grid({"a": data}), tmp_path / "out")
    assert not trained and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_identity_holds_all_that_results_depend_on(data: Dataset, tmp_path: Path):
    known = tmp_path / "known.csv"

    def identity(label: int = 1, **changed):
        known.write_text(f"source,target,label\n{data.genes[0]},{data.genes[1]},{label}\n")
        edge = prior("known-edges", known, "logit")
        return batch._identity(grid({"a": data}, edges=[edge])._replace(**changed))

    first = identity()
    assert identity() == first
    moved = data._replace(x=np.asarray(data.x) + np.eye(*data.x.shape, dtype=data.x.dtype))
    others = [
        identity(label=0),
        identity(key=1),
        identity(seeds=3),
        identity(config=Config(rows="regulators", epochs=3)),
        identity(effects=[prior("normal")]),
        batch._identity(grid({"a": data})),
        identity(datasets={"a": moved}),
        identity(datasets={"b": data}),
    ]
    assert all(other != first for other in others)
    assert identity(record={"command": "elsewhere"}, top=3) == first
