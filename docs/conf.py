"""Settings of the documentation: ``sphinx-build -W docs docs/_build/html``."""

import importlib
import inspect
from pathlib import Path

import typer
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.logging import getLogger
from typer.cli import get_docs_for_click

import infosem_jax
from infosem_jax.cli.app import app as infosem

HERE = Path(__file__).parent
LOGGER = getLogger(__name__)
DOORS = (
    "grn",
    "grn.priors",
    "grn.exact",
    "expression",
    "perturbation",
    "embedding",
    "data",
    "compare",
)
OTHERS = (
    *(
        "anndata",
        "collections",
        "flax",
        "jax",
        "jaxlib",
        "jaxtyping",
        "matplotlib",
        "numpy",
        "numpyro",
    ),
    *("optax", "os", "pandas", "pathlib", "scipy"),
    *("Figure", "InferenceData", "Path", "ndarray", r"(str \| int \| )?tuple\[str"),
)
INTERNAL = (
    *(r"_settings", r"benchmark\.runner", r"benchmark\.grn\.\w+", r"compare\.measures"),
    *(r"calibration\.(findings|predictive)", r"data\.passes", r"embedding\.\w+", r"engine\.saver"),
    *(r"expression\.\w+", r"grn\.(exact|priors)\.\w+", r"grn\.splits", r"perturbation\.\w+"),
)

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
html_math_renderer = "mathml"  # browsers draw it by themselves, without a network

autosummary_generate = True
# Names that two modules export are on the page of one.
ELSEWHERE = {
    "infosem_jax.grn": {
        name: f"infosem_jax.grn.priors.{name}" for name in ("GeneContext", "bind", "coverage")
    },
    "infosem_jax.embedding": {"read_gene_sets": "infosem_jax.data.read_gene_sets"},
}
# What modules export besides functions and classes.
VALUES = {
    "infosem_jax.compare": {"RECIPE": "Settings of the engine svi with which priors are compared."},
    "infosem_jax.data": {
        "CATALOG": "What `infosem_jax.data.fetch` knows: names, each with its `Entry`.",
        "NORMALISATIONS": "Names of the ways to bring expression to scale.",
        "Normalisation": "One of these names, as a type.",
    },
    "infosem_jax.embedding": {"METHODS": "Methods by name."},
    "infosem_jax.expression": {"METHODS": "Methods by name."},
    "infosem_jax.grn": {"REGISTRY": "Priors by the names they have on the command line."},
    "infosem_jax.grn.priors": {
        "Prior": "A class of this module, a NumPyro distribution, or a function of a "
        "`GeneContext` that returns one."
    },
}
# Where each module is explained: on every page of its functions and classes.
GUIDES = {
    "infosem_jax.benchmark.grn": ("guide/benchmark",),
    "infosem_jax.calibration.check": ("guide/judging", "notebooks/uncertainty"),
    "infosem_jax.calibration.recalibrate": ("guide/judging", "notebooks/uncertainty"),
    "infosem_jax.calibration.reliability": ("guide/judging", "notebooks/uncertainty"),
    "infosem_jax.compare": ("guide/judging", "notebooks/priors"),
    "infosem_jax.data": ("guide/files", "notebooks/first_network"),
    "infosem_jax.data.simulate": ("notebooks/first_network",),
    "infosem_jax.embedding": ("guide/embedding", "notebooks/genes_across_studies"),
    "infosem_jax.engine.types": ("guide/sharp_bits",),
    "infosem_jax.expression": ("guide/expression", "notebooks/unmeasured_genes"),
    "infosem_jax.grn": ("guide/grn", "notebooks/first_network", "notebooks/activities"),
    "infosem_jax.grn.exact": ("guide/grn", "notebooks/large_data"),
    "infosem_jax.grn.plot": ("notebooks/first_network",),
    "infosem_jax.grn.priors": ("guide/priors", "notebooks/own_prior"),
    "infosem_jax.perturbation": ("guide/perturbation", "notebooks/perturbations"),
    "infosem_jax.scores": ("guide/judging",),
}
autosummary_context = {"elsewhere": ELSEWHERE, "guides": GUIDES, "values": VALUES}
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 80
default_role = "py:obj"  # names in single backticks are links
nitpicky = True  # a link that leads nowhere is a warning
# Types in signatures: those of other packages, and those of ours that have no page.
nitpick_ignore_regex = [
    (r"py:class", rf"({'|'.join(OTHERS)})(\..*)?"),
    (r"py:class", rf"infosem_jax\.({'|'.join(INTERNAL)})\.\w+"),
]
numpydoc_show_class_members = False
python_use_unqualified_type_names = True


def setup(app: Sphinx) -> None:
    """Write formulas and the pages of commands, leave out fields of a NamedTuple, miss no name."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("builder-inited", _write_commands)
    app.connect("env-check-consistency", _check_reference)
    app.connect("autodoc-skip-member", _is_field)


def _inline(page, node: nodes.Element) -> None:
    """Write a formula within a line."""
    page.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(page, node: nodes.Element) -> None:
    """Write a formula on lines of its own."""
    page.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


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


def _check_reference(app, env: BuildEnvironment) -> None:
    """Warn of names that a door exports and no page describes."""
    described = env.domains.python_domain.objects
    for door in (f"infosem_jax.{name}" for name in DOORS):
        elsewhere = ELSEWHERE.get(door, {})
        module = importlib.import_module(door)
        for name in module.__all__:
            pages = {f"{door}.{name}", elsewhere.get(name)} & set(described)
            if not pages and not inspect.ismodule(getattr(module, name)):
                LOGGER.warning("%s.%s: no page of the API reference describes it", door, name)
