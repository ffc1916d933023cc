"""Compiled programs, and the mappings of memory that they take up."""

from pathlib import Path

import jax

MAPPINGS, LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
# One group of fits may compile programs for some thousands.
SHARE = 0.5


def release_programs(most: int | None = None) -> bool:
    """Release all compiled programs once they take half of the mappings a process may have.

    On CPUs each program takes several mappings of memory. Linux allows a process 65,530 unless it
    is told otherwise, and one that asks for more crashes. What is needed again compiles again.

    Parameters
    ----------
    most
        Mappings above which programs go; None takes half of what Linux allows.

    Returns
    -------
    Whether programs were released.
    """
    try:
        taken = MAPPINGS.read_bytes().count(b"\n")
        most = int(SHARE * int(LIMIT.read_text())) if most is None else most
    except OSError:  # not Linux
        return False
    if taken > most:
        jax.clear_caches()
    return taken > most
