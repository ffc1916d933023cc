"""What an HDF5 file declares, read in a process of its own: damaged files hang or crash HDF5.

This file is that process too. It imports nothing of the package, so that it starts in a moment.
"""

import atexit
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import h5py
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]

# What a file may take to be looked at: so many seconds, and one more for so many bytes.
SECONDS, BYTES_PER_SECOND = 20.0, 2e6
DAMAGED = "it is damaged: HDF5 hangs or crashes on it; copy or download it again."


class Damaged(ValueError):
    """A file that no process should open which is to go on."""


def inspect(path: str | os.PathLike[str], limits: dict[str, Any], parts: Sequence[str]) -> None:
    """Refuse an HDF5 file that reaches outside itself or declares far more than it stores.

    Parameters
    ----------
    path
        The file.
    limits
        The fields of `infosem_jax.data._files.Limits`.
    parts
        What will be read, as far as it is there; the whole file where empty.

    Raises
    ------
    ValueError
        If it does.
    Damaged
        If HDF5 hangs or crashes on it.
    """
    request = {"path": os.path.abspath(path), "limits": limits, "parts": list(parts)}
    seconds = SECONDS + os.path.getsize(path) / BYTES_PER_SECOND
    with _lock:
        child = _running()
        answer = _answer(request) if child is None else _ask(child, request, seconds)
    if answer["error"] is not None:
        raise (Damaged if answer.get("damaged") else ValueError)(answer["error"])


def _answer(request: dict[str, Any]) -> dict[str, str | None]:
    try:
        check(**request)
    except Exception as error:
        return {"error": str(error) or type(error).__name__}
    return {"error": None}


def check(path: str, limits: dict[str, Any], parts: Collection[str]) -> None:
    """Do in this process what `inspect` does in another.

    Parameters
    ----------
    path, limits, parts
        As of `inspect`.
    """
    with h5py.File(path, "r") as file:
        declared = 0
        groups: list[h5py.Group] = [file]
        known = {_address(file)}
        members = 0
        while groups:
            group = groups.pop()
            members += len(group)
            check_members(members, limits["members"])
            _read_attributes(group)
            for name in group:
                if not _asked(f"{group.name}/{name}".lstrip("/"), parts):
                    continue
                item = _follow(group, str(name))
                if isinstance(item, h5py.Group):
                    if _address(item) in known:
                        raise ValueError(f"group {item.name} is linked more than once.")
                    known.add(_address(item))
                    groups.append(item)
                elif isinstance(item, h5py.Dataset):
                    declared += _declared(item)
                    check_size(path, declared, limits)
                    _read_attributes(item)
                    declared = _count_strings(path, item, declared, limits)


def check_members(count: int, most: int) -> None:
    """Refuse a file of more than so many members."""
    if count > most:
        raise ValueError(f"it has {count} members; at most {most} are read.")


def check_size(path: str | os.PathLike[str], declared: int, limits: dict[str, Any]) -> None:
    """Refuse a file that declares more bytes than are read, or far more than it has.

    Parameters
    ----------
    path, limits
        As of `inspect`.
    declared
        Bytes in memory.
    """
    if declared > limits["size"]:
        raise ValueError(
            f"it declares {_bytes(declared)} of data; at most {_bytes(limits['size'])} are read."
        )
    stored = os.path.getsize(path)
    if declared > limits["small"] and declared > limits["ratio"] * stored:
        raise ValueError(
            f"it declares {_bytes(declared)} of data but has {_bytes(stored)}; "
            f"more than {limits['ratio']:g} to one is refused as damaged or hostile."
        )


_lock = threading.Lock()
# The process that looks at files, and the one that started it.
_child: tuple[int, "subprocess.Popen[bytes]"] | None = None


def _running() -> "subprocess.Popen[bytes] | None":
    """Return the process that looks at files, started if need be; None where none can be."""
    global _child
    if _child is not None and _child[0] == os.getpid() and _child[1].poll() is None:
        return _child[1]
    # Not the folder of this file on the path: its modules would hide those of Python.
    command, pipe = [sys.executable, "-P", __file__], subprocess.PIPE
    try:
        started = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    except (OSError, TypeError):
        return None
    _child = os.getpid(), started
    atexit.register(_end, started)
    return started


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    child.communicate()
    atexit.unregister(_end)


def _ask(
    child: "subprocess.Popen[bytes]", request: dict[str, Any], seconds: float
) -> dict[str, str | None]:
    assert child.stdin is not None and child.stdout is not None
    overtime = threading.Timer(seconds, child.kill)
    overtime.daemon = True
    overtime.start()
    line = b""
    try:
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
        line = child.stdout.readline()
    except OSError:
        pass
    finally:
        overtime.cancel()
        if not line:  # it hung or crashed, or this process is told to end
            _end(child)
    if not line:
        return {"error": DAMAGED, "damaged": "yes"}
    return json.loads(line)


def _serve() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
        sys.stdout.flush()


def _asked(place: str, parts: Collection[str]) -> bool:
    """Tell whether a place is one of the parts, in one of them or on the way to one."""
    return not parts or any(
        f"{place}/".startswith(f"{part}/") or f"{part}/".startswith(f"{place}/") for part in parts
    )


def _address(group: h5py.Group) -> int:
    return h5o.get_info(group.id).addr


def _follow(group: h5py.Group, name: str) -> h5py.HLObject:
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        kind = type(link).__name__
        raise ValueError(
            f"{group.name}/{name} is a link ({kind}) to elsewhere, which is not followed; "
            "write the file again with AnnData so that it holds its data itself."
        )
    return group[name]


def _read_attributes(item: h5py.HLObject) -> None:
    """Read what those who read the item will read, to find out here whether that hangs."""
    with suppress(Exception):
        list(item.attrs.items())


def _declared(item: h5py.Dataset) -> int:
    if item.is_virtual or item.external:
        raise ValueError(
            f"{item.name} keeps its values in other files, which are not read; "
            "write the file again with AnnData so that it holds its data itself."
        )
    return math.prod(item.shape or ()) * item.dtype.itemsize if item.shape is not None else 0


def _count_strings(path: str, item: h5py.Dataset, declared: int, limits: dict[str, Any]) -> int:
    """Add the length of strings, many of which may share one long stored value."""
    if item.dtype.kind != "O" or not item.shape or 0 in item.shape:
        return declared
    if h5py.check_ref_dtype(item.dtype) is not None:
        return declared
    # Each string is looked up, which takes for ever where more are declared than can be stored.
    count, stored = math.prod(item.shape), os.path.getsize(path)
    if count > max(2**16, stored):
        raise ValueError(f"{item.name} declares {count} strings in a file of {stored} bytes.")
    row = math.prod(item.shape[1:])
    step = max(1, min(max(2**30 // stored, 64), 65536) // row)
    for start in range(0, item.shape[0], step):
        declared += sum(map(len, item[start : start + step].ravel()))
        check_size(path, declared, limits)
    return declared


def _bytes(n: int) -> str:
    return next(f"{n / 1024**i:.4g} {unit}" for i, unit in _UNITS if n < 1024 ** (i + 1) or i == 5)


_UNITS = tuple(enumerate(("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")))


if __name__ == "__main__":
    _serve()
