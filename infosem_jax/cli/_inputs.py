"""What several commands read: data sets, the settings file, and priors named by options."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infosem_jax.data import Dataset, Stream
    from infosem_jax.grn.config import Config
    from infosem_jax.grn.run_folder import NamedPrior

TABLES = ("model", "effect", "edge", "run")


def read_datasets(
    expression: list[Path],
    settings: "Config",
    *,
    regulators: Path | None,
    groupby: str | None,
    stream: bool,
    layer: str | None,
    orientation: Any,
    variant: str | None,
    name: str | None,
) -> "dict[str, Dataset | Stream]":
    """Read the data sets that a command names, by name, and tell apart those of like names."""
    from typing import get_args

    from infosem_jax.data import open_stream, read_expression, read_groups, read_regulators
    from infosem_jax.data.io import Orientation

    if name is not None and len(expression) > 1:
        raise ValueError("--name: expected one data set to name, found several; leave it out.")
    if stream and groupby is not None:
        raise ValueError("Expected --stream or --groupby, found both; groups are read to memory.")
    if name is not None and groupby is not None:
        raise ValueError("--name: groups are called by their values; leave it out.")
    if (stream or groupby is not None) and (variant is not None or orientation != "auto"):
        raise ValueError("Expected no --variant or --orientation with --stream or --groupby.")
    if orientation not in get_args(Orientation):
        raise ValueError(
            f"--orientation: expected {', '.join(get_args(Orientation))}, found {orientation!r}."
        )
    candidates = None if regulators is None else read_regulators(regulators)
    found: list[tuple[str, Any]] = []
    for path in expression:
        if groupby is not None:
            groups = read_groups(path, groupby, layer=layer, regulators=candidates)
            alone = len(expression) == 1
            found += [(group if alone else data.name, data) for group, data in groups.items()]
        elif stream:
            data = open_stream(
                path,
                regulators=candidates,
                layer=layer,
                normalisation=settings.normalisation,
                clip=settings.clip,
                name=name,
            )
            found.append((data.name, data))
        else:
            data = read_expression(
                path,
                regulators=candidates,
                layer=layer,
                orientation=orientation,
                variant=variant,
                name=name,
            )
            found.append((data.name, data))
    names = [title for title, _ in found]
    if len(set(names)) < len(names) and groupby is None:
        # Folders of a benchmark have like names at the end: tell them apart by their parents.
        names = ["/".join(path.resolve().parts[-2:]) for path in expression]
        found = [
            (title, data._replace(name=title))
            for title, (_, data) in zip(names, found, strict=True)
        ]
    if len(set(names)) < len(names):
        raise ValueError(f"Expected data sets with names of their own, found {', '.join(names)}.")
    return dict(found)


def read_config(path: Path | None) -> "tuple[Config, dict[str, dict[str, Any]]]":
    """Read the settings of a model, and those of its priors by site, from a TOML file."""
    from difflib import get_close_matches

    from infosem_jax.grn.config import from_dict

    tables: dict[str, Any] = {}
    if path is not None:
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a TOML file ({error}).") from error
    for name, table in tables.items():
        if name not in TABLES or not isinstance(table, dict):
            near = get_close_matches(name, TABLES, n=1, cutoff=0.4)
            hint = f" Did you mean [{near[0]}]?" if near else ""
            raise ValueError(
                f"{path}: expected the tables [model], [effect] and [edge], found {name!r}.{hint}"
            )
    settings = {site: dict(tables.get(site, {})) for site in ("effect", "edge")}
    for table in settings.values():
        table.pop("prior", None)
        table.pop("file", None)
    return from_dict({"normalisation": "auto"} | tables.get("model", {})), settings


def named_prior(
    spec: str, site: str, settings: dict[str, Any], matching: dict[str, Any]
) -> "NamedPrior":
    """Build the prior that an option names: PRIOR, PRIOR=FILE or module.path:function."""
    import inspect
    import os
    import sys

    from infosem_jax.grn.priors.registry import REGISTRY, build, load
    from infosem_jax.grn.run_folder import NamedPrior

    name, _, file = spec.partition("=")
    if ":" in name:
        if file:
            raise ValueError(
                f"{spec}: expected {name} alone; what your prior needs it reads itself, or is told "
                "by the settings in --config."
            )
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        prior = load(name, settings)
        told = inspect.getdoc(getattr(prior, "func", prior)) or ""
        text = told.partition("\n")[0] or "Written by the user."
    else:
        prior = _matched(build(name, file or None, site, settings), matching)
        text = REGISTRY[name].text
    recorded = {"prior": name, **({"file": file} if file else {}), **settings}
    return NamedPrior(site, name, text, prior, recorded)


def _matched(prior: Any, matching: dict[str, Any]) -> Any:
    """Tell every prior that holds an embedding how gene names are matched to it."""
    from dataclasses import replace

    from infosem_jax.grn.priors import Mixture

    if isinstance(prior, Mixture):
        return replace(prior, parts=tuple(_matched(part, matching) for part in prior.parts))
    return replace(prior, **matching) if hasattr(prior, "embedding") else prior
