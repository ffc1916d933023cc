"""Pages from templates: HTML that needs no other file, no script and no network."""

from typing import Any


def render(template: str, **values: Any) -> str:
    """Fill a template of this package; a value that it lacks is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("infosem_jax.outputs"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
