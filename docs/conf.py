"""Settings of the documentation: ``sphinx-build -W docs docs/_build/html``."""

from pathlib import Path

import typer
from sphinx.application import Sphinx
from typer.cli import get_docs_for_click

import infosem_jax
from infosem_jax.cli.app import app as infosem

HERE = Path(__file__).parent

project = "infosem_jax"
author = "the authors of infosem_jax"
release = version = infosem_jax.__version__
html_title = "infosem_jax"
html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {"max_navbar_depth": 2, "show_toc_level": 2, "home_page_in_toc": True}
html_show_copyright = False
smartquotes = False  # two hyphens are options of commands

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Notebooks are run once, and again only when their code changes.
nb_execution_mode = "cache"
nb_execution_raise_on_error = False  # a failure is a warning, so that all are told of
nb_execution_show_tb = True
nb_execution_timeout = 180
nb_merge_streams = True
nb_output_stderr = "remove"  # notices of other packages

autosummary_generate = True
# Names that two modules export are on the page of one.
autosummary_context = {"elsewhere": {"infosem_jax.grn.priors": ("GeneContext", "bind", "coverage")}}
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 80
default_role = "py:obj"  # names in single backticks are links where there is such a page
numpydoc_show_class_members = False
python_use_unqualified_type_names = True


def setup(app: Sphinx) -> None:
    """Write the pages of commands, and leave out what Python adds to a NamedTuple."""
    app.connect("builder-inited", _write_commands)
    app.connect("autodoc-skip-member", _is_field)


def _write_commands(app: Sphinx) -> None:
    """Write the help of every command as a page in ``commands/``."""
    group = typer.main.get_command(infosem)
    context = typer.Context(group, info_name="infosem")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        own = typer.Context(command, info_name=name, parent=context)
        page = get_docs_for_click(obj=command, ctx=own, call_prefix="infosem")
        path = HERE / "commands" / f"{name}.md"
        if not path.exists() or path.read_text() != page:
            path.write_text(page)


def _is_field(app, kind, name, member, skip, options) -> bool | None:
    """Leave out fields of a NamedTuple, which its docstring describes."""
    return True if type(member).__name__ == "_tuplegetter" else None
