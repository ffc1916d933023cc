"""Files of the Connectivity Map, for tests of their readers."""

import h5py
import numpy as np


def write_gct(path, profiles) -> None:
    """Write version 1.3, with the labels of the samples, and numbers that read back the same."""
    labels = {key: value.astype(str) for key, value in profiles.labels.items()}
    lines = [
        ["#1.3"],
        map(str, [len(profiles.genes), len(profiles.samples), 0, len(labels)]),
        ["id", *profiles.samples],
        *([key, *value] for key, value in labels.items()),
        *([g, *map(str, x)] for g, x in zip(profiles.genes, profiles.x.T, strict=True)),
    ]
    path.write_text("".join("\t".join(line) + "\n" for line in lines), "utf-8", newline="\n")


def write_gctx(path, profiles) -> None:
    """Write the same as HDF5."""
    with h5py.File(path, "w") as file:
        file["0/DATA/0/matrix"] = profiles.x
        about = {f"0/META/COL/{key}": value for key, value in profiles.labels.items()}
        about |= {"0/META/ROW/id": np.array(profiles.genes)}
        about |= {"0/META/COL/id": np.array(profiles.samples)}
        for place, value in about.items():
            file.create_dataset(place, data=value.tolist(), dtype=h5py.string_dtype())
