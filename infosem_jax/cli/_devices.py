"""Which devices commands compute on, and where compiled programs are kept."""

from pathlib import Path
from typing import Annotated

import typer

CompileCache = Annotated[
    Path | None,
    typer.Option(help="Private folder for compiled programs, to start faster next time."),
]


def start_devices(distributed: bool, compile_cache: Path | None) -> None:
    """Let JAX use every core as a device of its own, or every process of a cluster.

    Parameters
    ----------
    distributed
        Join the processes of a cluster, as SLURM, Open MPI or environment variables tell.
    compile_cache
        Folder for compiled programs; it is made if there is none.

    Raises
    ------
    ValueError
        If others may write to that folder, or there is no cluster to join.
    """
    import os

    import jax

    from infosem_jax.engine.layout import usable_cores

    if compile_cache is not None:
        # Whoever can write to the cache can run code here: keep others out.
        if compile_cache.exists() and not compile_cache.is_dir():
            raise ValueError(f"{compile_cache}: expected a folder, found a file.")
        compile_cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Windows tells nothing of others in the mode.
        if os.name == "posix" and compile_cache.stat().st_mode & 0o022:
            raise ValueError(
                f"{compile_cache}: others may write to this folder, and so run programs as you; "
                "choose one of your own (chmod go-w)."
            )
        jax.config.update("jax_compilation_cache_dir", str(compile_cache))
        # Keep the quick ones too: a fit has dozens, of a tenth of a second each.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if not distributed:
        if "JAX_NUM_CPU_DEVICES" not in os.environ:
            jax.config.update("jax_num_cpu_devices", usable_cores())
        return
    names = {
        "coordinator_address": "JAX_COORDINATOR_ADDRESS",
        "num_processes": "JAX_NUM_PROCESSES",
        "process_id": "JAX_PROCESS_ID",
    }
    given = {field: os.environ[name] for field, name in names.items() if name in os.environ}
    missing = [name for field, name in names.items() if field not in given]
    if given and missing:
        raise ValueError(
            f"--distributed: expected {', '.join(missing)} in the environment as well."
        )
    if given and not given["coordinator_address"].rpartition(":")[2].isdecimal():
        raise ValueError(
            f"{names['coordinator_address']}: expected HOST:PORT, found "
            f"{given['coordinator_address']!r}."
        )
    try:
        jax.distributed.initialize(
            coordinator_address=given.get("coordinator_address"),
            num_processes=int(given["num_processes"]) if given else None,
            process_id=int(given["process_id"]) if given else None,
        )
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            "--distributed: cannot join a cluster; run under SLURM, Open MPI or on TPUs, or set "
            f"{', '.join(names.values())} ({error})."
        ) from error
