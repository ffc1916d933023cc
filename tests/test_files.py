"""Files that are damaged or meant to do harm are refused; files that are written are complete."""

import os
import pickle
import stat
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from infosem_jax.data.io import (
    Limits,
    atomic_write,
    check_h5,
    check_npz,
    load_npz,
    read_embedding,
    read_expression,
)
from infosem_jax.data.stream import open_stream
from infosem_jax.embedding import read_study
from infosem_jax.expression import read_profiles
from infosem_jax.perturbation import read_screen


def test_atomic_write_replaces_the_old_file(tmp_path):
    path = tmp_path / "a.npz"
    path.write_text("old")
    with atomic_write(path) as draft:
        assert draft.parent == tmp_path
        assert draft.suffix == ".npz"
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.npz"]


def test_atomic_write_leaves_the_old_file_after_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_atomic_write_follows_umask_and_links(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    before = os.umask(0o027)
    try:
        with atomic_write(link) as draft:
            draft.write_text("new")
    finally:
        os.umask(before)
    assert real.read_text() == "new"
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_atomic_write_syncs_file_and_folder(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_mode), real(fd)))
    with atomic_write(tmp_path / "a") as draft:
        draft.write_text("x")
    assert [stat.S_ISREG(mode) for mode in synced] == [True, False]


def test_atomic_write_names_a_missing_folder(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="nowhere does not exist"),
        atomic_write(tmp_path / "nowhere" / "a"),
    ):
        pass
    with pytest.raises(ValueError, match="found a folder"), atomic_write(tmp_path):
        pass


def test_good_h5_passes(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones((5, 3))
        file["deep/names"] = ["a", "bc"]
        file["empty"] = h5py.Empty("f")
        file["nothing"] = np.zeros((0, 3))
    check_h5(tmp_path / "a.h5")


def _external_link(file: h5py.File) -> None:
    file["obs"] = h5py.ExternalLink("/etc/passwd", "/")


def _soft_link(file: h5py.File) -> None:
    file["a"] = np.ones(3)
    file["obs"] = h5py.SoftLink("/a")


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(3,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(3,))
    file.create_virtual_dataset("X", layout)


def _external_storage(file: h5py.File) -> None:
    file.create_dataset("X", (3,), "f4", external=[("other.bin", 0, 12)])


def _loop(file: h5py.File) -> None:
    file.create_group("obs")["back"] = file["/"]


def _twice(file: h5py.File) -> None:
    file["obs/b"] = file.create_group("obs/a")


def _declares_much(file: h5py.File) -> None:
    file.create_dataset("X", (2**15, 2**15), "f4", chunks=(1024, 1024))


def _beyond_cap(file: h5py.File) -> None:
    file.create_dataset("X", (2**40, 2**10), "f8", chunks=(1024, 1024))


def _shared_strings(file: h5py.File) -> None:
    names = file.create_dataset("names", (400,), h5py.string_dtype())
    names[:] = "x"
    names[0] = "y" * 20_000
    first = names.id.get_offset()
    assert first is not None
    file.attrs["offset"] = first


HOSTILE_H5 = {
    _external_link: "ExternalLink.* to elsewhere",
    _soft_link: "SoftLink.* to elsewhere",
    _virtual: "in other files",
    _external_storage: "in other files",
    _loop: "linked more than once",
    _twice: "linked more than once",
    _declares_much: "4 GiB of data but has .* refused as damaged or hostile",
    _beyond_cap: "8 PiB of data; at most",
}


@pytest.mark.parametrize(
    ("make", "message"), HOSTILE_H5.items(), ids=lambda x: getattr(x, "__name__", "")
)
def test_hostile_h5_is_refused_by_every_reader(tmp_path, make, message):
    path = tmp_path / "a.h5ad"
    with h5py.File(path, "w") as file:
        make(file)
        if "X" not in file:
            file["X"] = np.ones((3, 3))
    for read in (check_h5, read_expression, read_embedding, read_screen, read_profiles, read_study,
                 open_stream):  # fmt: skip
        with pytest.raises(ValueError, match=message) as error:
            read(path)
        assert str(path) in str(error.value)


def test_strings_that_share_one_stored_value_are_counted(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        _shared_strings(file)
        offset = int(file.attrs["offset"])
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 16 * 400] = raw[offset : offset + 16] * 400
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="refused as damaged or hostile"):
        check_h5(path, Limits(small=2**20, ratio=10.0))
    check_h5(path, Limits(small=2**20))


def test_damaged_h5_is_refused(tmp_path):
    path = tmp_path / "a.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = np.random.default_rng(0).normal(size=(50, 50))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"\x89HDF\r\n\x1a\n", b"hello"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.h5ad: cannot be used as HDF5"):
            check_h5(path)


def test_limits_are_settings(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones(1000)
        file["y"] = np.ones(1)
    np.savez(tmp_path / "a.npz", x=np.ones(1000), y=np.ones(1))
    for check, path in ((check_h5, tmp_path / "a.h5"), (check_npz, tmp_path / "a.npz")):
        check(path)
        with pytest.raises(ValueError, match="at most 1000 bytes"):
            check(path, Limits(size=1000))
        with pytest.raises(ValueError, match="at most 1 are read"):
            check(path, Limits(members=1))
        with pytest.raises(ValueError, match=r"more than 0\.1 to one"):
            check(path, Limits(ratio=0.1, small=0))


def test_npz_round_trip(tmp_path):
    arrays = {"x": np.arange(6.0).reshape(2, 3), "names": np.array(["a", "bc"]), "n": np.array(3)}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = load_npz(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)


class _Harm:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


def test_pickle_in_npz_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("object.npz", X=np.array([_Harm()], object))
    Path("plain.npz").write_bytes(pickle.dumps(_Harm()))
    with zipfile.ZipFile("member.npz", "w") as archive:
        archive.writestr("X.npy", pickle.dumps(_Harm()))
    for name, message in (
        ("object.npz", "pickled objects"),
        ("plain.npz", "is a pickle, which may run code"),
        ("member.npz", "magic string"),
    ):
        with pytest.raises(ValueError, match=message):
            read_expression(name)
    assert not Path("harm").exists()


def _npy(shape: str, descr: str = "<f4", data: bytes = b"") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "member",
    [
        _npy("(65536, 65536)"),
        _npy("(-1,)"),
        _npy("(1152921504606846976,)", "<U0"),
        _npy("(2,)", data=b"12"),
    ],
)
def test_npz_headers_that_lie_are_refused(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", member)
    with pytest.raises(ValueError, match="declares shape"):
        check_npz(tmp_path / "a.npz")


def test_zip_bomb_is_refused_before_it_is_expanded(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", _npy("(33554432,)", "|u1", bytes(2**25)))
    check_npz(tmp_path / "a.npz", Limits(ratio=2000.0))
    with pytest.raises(ValueError, match="refused as damaged or hostile"):
        check_npz(tmp_path / "a.npz", Limits(ratio=500.0))


def test_npz_members_with_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", _npy("(0,)"))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("X.npy", _npy("(0,)"))
    with pytest.raises(ValueError, match="same name"):
        check_npz(tmp_path / "a.npz")
