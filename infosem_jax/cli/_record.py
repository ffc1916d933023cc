"""Settings that commands read, and the record of a run that they leave beside its results."""

from pathlib import Path
from typing import Any


def read_settings(path: Path | None, method: str) -> dict[str, Any]:
    """Read the table of a method from a TOML file, which may hold that of a run beside it.

    Raises
    ------
    ValueError
        If it is no TOML file, or holds other tables.
    """
    import tomllib

    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file ({error}).") from error
    # What a fit has written names its run too.
    other = [name for name in tables if name not in (method, "run")]
    if other or not isinstance(tables.get(method, {}), dict):
        raise ValueError(
            f"{path}: expected a table [{method}], found {', '.join(other) or 'a value'}."
        )
    return tables.get(method, {})


def record_of(command: str, given: dict[str, Any], **found: Any) -> dict[str, Any]:
    """Return a command and its options as TOML and JSON can hold them, to record a result.

    Parameters
    ----------
    command
        Its name.
    given
        Its options by name; where results go, and whether they replace others, is left out.
    found
        Values that take the place of those given.
    """
    values: dict[str, Any] = {"command": command}
    for name, value in given.items():
        if isinstance(value, list | tuple):
            values[name] = [str(part) for part in value]
        elif name not in ("out", "config", "resume", "save_every", "overwrite"):
            values[name] = value if isinstance(value, bool | int | float) else str(value or "")
    return values | found


def write_record(folder: Path, tables: dict[str, Any], versions: dict[str, str]) -> None:
    """Write settings to ``config.toml``, empty tables left out, and ``versions.json``."""
    import json

    import tomli_w

    tables = {name: table for name, table in tables.items() if table}
    (folder / "config.toml").write_text(tomli_w.dumps(tables), encoding="utf-8")
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
