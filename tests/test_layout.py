import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.engine.layout import Layout, choose, over_fits, place, split_cells
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit
from infosem_jax.grn.priors import Normal

SEEDS = 3
TINY = Config(
    rows="regulators",
    hidden=4,
    knots=8,
    epochs=6,
    batch_size=8,
    start="zero",
    phase_networks=0,
    phase_edges=0,
    optimiser="adam",
    rate_networks=1e-2,
    rate_edges=1e-2,
    held_out=0.2,
    patience=4,
)
SIMULATED = simulate(SimulationConfig(genes=10, regulators=4, cells=30, mean_in_degree=2), seed=0)

# Fits with each number of devices per batch; says which layout came out and what was found.
SCRIPT = """
import json, sys
import jax
out, devices, process, processes, port, spreads = json.loads(sys.argv[1])
jax.config.update("jax_num_cpu_devices", devices)
if processes > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=processes, process_id=process)
import numpy as np
from infosem_jax.grn import fit_many, group_training
from infosem_jax.grn.priors import Normal
from test_layout import SEEDS, SIMULATED, TINY

layouts = []
def choose(*args, **options):
    layouts.append(chosen(*args, **options))
    return layouts[-1]
chosen, group_training.choose = group_training.choose, choose
found = {}
for cells in spreads:
    seen = []
    jobs = fit_many(
        [SIMULATED.data], {"": Normal(0.1)}, configs=TINY, seeds=SEEDS, cells_over=cells,
        on_chunk=lambda progress: seen.append(progress.losses.train.shape),
    )
    (_, fitted), = jobs
    assert len(seen) > 1
    found |= {
        f"{cells}/devices": layouts[-1].devices,
        f"{cells}/weight": fitted.weight,
        f"{cells}/train": fitted.losses.train,
        f"{cells}/held_out": fitted.losses.held_out,
        f"{cells}/diverged": fitted.diverged,
    }
np.savez(out, **found)
"""


def start(*words) -> subprocess.Popen:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{SCRIPT}"
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(jobs: list[subprocess.Popen], seconds: float = 500) -> None:
    try:
        for job in jobs:
            said, _ = job.communicate(timeout=seconds)
            assert job.returncode == 0, said
    finally:
        for job in jobs:
            job.kill()
            job.communicate()


@pytest.fixture(scope="module")
def alone():
    """Fit on one device."""
    return fit(SIMULATED.data, Normal(0.1), config=TINY, seeds=SEEDS)


def check(path: Path, alone, expected: dict) -> None:
    with np.load(path) as found:
        for cells, devices in expected.items():
            assert tuple(found[f"{cells}/devices"]) == devices
            np.testing.assert_allclose(found[f"{cells}/weight"], alone.weight, atol=1e-5)
            for part in ("train", "held_out"):
                losses = getattr(alone.losses, part)
                np.testing.assert_allclose(found[f"{cells}/{part}"], losses, rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(found[f"{cells}/diverged"], [-1] * SEEDS)


@pytest.mark.slow
def test_fits_and_cells_spread_over_devices(alone, tmp_path):
    assert np.abs(alone.weight).max() > 0.01
    path = tmp_path / "found.npz"
    finish([start(str(path), 4, 0, 1, 0, [None, 1, 2, 4])])
    # Three seeds on two devices are filled up with a fourth.
    check(path, alone, {None: (3, 1), 1: (3, 1), 2: (2, 2), 4: (1, 4)})


@pytest.mark.slow
def test_fits_and_cells_spread_over_processes(alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [tmp_path / f"found{i}.npz" for i in range(2)]
    finish([start(str(path), 2, i, 2, port, [None, 2, 4]) for i, path in enumerate(paths)])
    for path in paths:
        check(path, alone, {None: (4, 1), 2: (2, 2), 4: (1, 4)})
    # Every process holds the same result, to the bit.
    with np.load(paths[0]) as one, np.load(paths[1]) as other:
        assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_one_device_needs_no_mesh():
    layout = choose(5, 64)
    assert layout == choose(1, 7) == Layout(None, 1)
    assert layout.devices == (1, 1)


@pytest.mark.parametrize("cells", [2, 3])
def test_cells_spread_over_devices_that_are_there(cells):
    with pytest.raises(ValueError, match=rf"divides the 1 devices .*64 cells.*found {cells}"):
        choose(1, 64, cells=cells)


def test_accelerators_share_cells_where_fits_leave_them_idle(monkeypatch):
    class Device:
        platform = "gpu"

    monkeypatch.setattr(jax, "devices", lambda: [Device()] * 8)
    made = []
    monkeypatch.setattr(
        "infosem_jax.engine.layout.Mesh", lambda grid, *_, **__: made.append(grid.shape)
    )

    def shape(*args, **options):
        made.clear()
        assert choose(*args, **options).at_once == 0
        return made[0] if made else (1, 1)

    assert shape(8, 64) == shape(20, 64) == (8, 1)
    assert shape(1, 64) == (1, 8)
    assert shape(2, 64) == (2, 4)
    assert shape(3, 64) == (3, 2)
    # The cells of a batch must come out even.
    assert shape(1, 36) == (1, 4)
    assert shape(1, 7) == (1, 1)
    assert shape(3, 64, cells=1) == (3, 1)
    with pytest.raises(ValueError, match="divides the 8 devices"):
        choose(1, 64, cells=3)
    with pytest.raises(ValueError, match="the 36 cells of a batch, found 8"):
        choose(1, 36, cells=8)


def test_without_a_mesh_nothing_is_spread():
    layout = Layout(None, 1)
    x = jnp.arange(6.0).reshape(2, 3)
    assert split_cells(x, layout, axis=0) is x
    doubled = over_fits(lambda one, shared: one * shared, layout)(x, 2.0)
    np.testing.assert_array_equal(doubled, 2 * x)
    placed = place({"x": np.arange(3)}, layout, fits=True)
    np.testing.assert_array_equal(placed["x"], [0, 1, 2])
