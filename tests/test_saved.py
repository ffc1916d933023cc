"""Fits saved to disk come back bit for bit, and other files are refused in words."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import run_folder
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit
from infosem_jax.grn.priors import GeneEmbedding, KnownEdges
from infosem_jax.grn.priors.binding import Priors
from infosem_jax.grn.result import network
from infosem_jax.grn.saved import load, save, saved_bytes

TINY = Config(rows="regulators", guide="normal", hidden=4, knots=0, epochs=2, batch_size=10)
SIMULATED = simulate(SimulationConfig(genes=10, regulators=4, cells=30, mean_in_degree=2), seed=0)


@pytest.fixture(scope="module")
def fitted():
    effect, edge = GeneEmbedding(SIMULATED.embedding, hidden=3), KnownEdges(SIMULATED.known)
    return fit(SIMULATED.data, effect, edge, config=TINY, seeds=2)


def leaves(fitted):
    """Everything in a fit, by its place in it."""
    values = fitted._replace(config=vars(fitted.config))
    return dict(jax.tree_util.tree_leaves_with_path(values))


def assert_same(a, b):
    a, b = leaves(a), leaves(b)
    assert a.keys() == b.keys()
    for place, value in a.items():
        np.testing.assert_array_equal(value, b[place], err_msg=str(place), strict=True)


@pytest.mark.parametrize("gated", [True, False])
def test_a_fit_comes_back_bit_for_bit(tmp_path, fitted, gated):
    if not gated:
        fitted = fitted._replace(probability=None)
    fitted.losses.held_out[0, 0] = np.nan
    save(tmp_path / "fit.npz", fitted)
    back = load(tmp_path / "fit.npz")
    assert_same(fitted, back)
    assert jax.tree.structure(back) == jax.tree.structure(fitted)
    assert back.config == fitted.config
    np.testing.assert_array_equal(network(back).weight, network(fitted).weight)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.npz"]


def test_what_users_priors_learn_is_kept(tmp_path):
    fitted = fit(SIMULATED.data, learned, config=replace(TINY, guide="point"))
    save(tmp_path / "fit.npz", fitted)
    assert "effect_prior/a.b/['c']" in fitted.params
    assert_same(fitted, load(tmp_path / "fit.npz"))


def learned(context):
    width = numpyro.param("a.b/['c']", 0.1, constraint=dist.constraints.positive)
    return dist.Normal(0.0, width).expand(context.shape).to_event(2)


def test_the_size_is_known_before(tmp_path, fitted):
    save(tmp_path / "fit.npz", fitted)
    size = (tmp_path / "fit.npz").stat().st_size
    assert saved_bytes(2, 4, 4, 10) < size < saved_bytes(2, 4, 4, 10) + 50_000


def test_broken_and_foreign_files_are_refused(tmp_path, fitted):
    path = tmp_path / "fit.npz"
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(path)
    save(path, fitted)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"PK not a zip", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"fit\.npz: "):
            load(path)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(ValueError, match="cannot be used as file of infosem fit: it was not wr"):
        load(path)
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        save(tmp_path / "fit.h5", fitted)


def test_a_failed_write_leaves_the_old_file(tmp_path, fitted, monkeypatch):
    path = tmp_path / "fit.npz"
    save(path, fitted)
    before = path.read_bytes()
    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(path, fitted._replace(name="other"))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["fit.npz"]


def test_runs_keep_their_fit_unless_it_is_too_large(tmp_path, fitted, monkeypatch):
    for limit, kept in ((run_folder.MOST_FIT_BYTES, True), (1000, False)):
        monkeypatch.setattr(run_folder, "MOST_FIT_BYTES", limit)
        folder = tmp_path / str(limit)
        folder.mkdir()
        run_folder.write_run(folder, SIMULATED.data, fitted, Priors(), record={}, title="A run")
        page = (folder / "report.html").read_text()
        assert (folder / "fit.npz").exists() == ("<dt>fit.npz</dt>" in page) == kept
        assert ("too much to keep on disk" in page) == (not kept)


def test_disagreement_of_seeds_is_said_of_as_many_edges_as_genes(tmp_path, fitted):
    activates = np.zeros_like(fitted.positive) + (fitted.weight.mean(0) > 0)
    for name, positive in (("unsure", np.full_like(activates, 0.5)), ("sure", activates)):
        folder = tmp_path / name
        folder.mkdir()
        seeds = fitted._replace(positive=positive)
        run_folder.write_run(folder, SIMULATED.data, seeds, Priors(), record={}, title="A run")
        told = "sign of the 10 strongest edges in only 50% of the cases"
        assert (told in (folder / "report.html").read_text()) == (name == "unsure")


def test_room_for_the_fit_is_asked_for(tmp_path, monkeypatch):
    free = run_folder.SPARE_BYTES + 4 * 10 * 150 + saved_bytes(2, 4, 4, 10)
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    run_folder.check_output(tmp_path / "out", SIMULATED.data, rows=4, seeds=2)
    with pytest.raises(ValueError, match="make room or choose another folder"):
        run_folder.check_output(tmp_path / "out", SIMULATED.data, rows=4, seeds=3)


def full_disk(file, **members):
    file.write(b"half")
    raise OSError(28, "No space left on device")
