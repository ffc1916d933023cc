"""What README and documentation say about commands, files and functions is so."""

import doctest
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer

from infosem_jax.cli.app import app

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
README = ROOT / "README.md"
PAGES = sorted(
    [README, ROOT / "CONTRIBUTING.md"]
    + [page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts]
)


@pytest.fixture(scope="module")
def records():
    spec = importlib.util.spec_from_file_location("records", ROOT / "docs" / "records.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page):
    """Yield the words of every call of infosem in a page."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                words = shlex.split(part, comments=True)
                if words[:1] == ["infosem"]:
                    yield words[1:]


def test_readme_is_short_and_its_links_lead_somewhere():
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    links = re.findall(r"\]\(([^)]+)\)", text)
    local = [link for link in links if not link.startswith("http")]
    assert len(local) > 10
    assert [link for link in local if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_of_a_page_exist(page):
    for words in commands(page):
        command = typer.main.get_command(app)
        while hasattr(command, "commands") and words and not words[0].startswith("-"):
            assert words[0] in command.commands, words
            command, words = command.commands[words[0]], words[1:]
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--help"}, (words, used - known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("http"):
            path = page.parent / link.partition("#")[0]
            assert path.exists() or path.with_name(f"{path.name}.md").exists(), link


def test_pages_and_plots_show_what_the_records_hold(records):
    filled = [page for page in records.PAGES if records.MARK.search(page.read_text())]
    assert {"README.md", "grn.md", "expression.md", "records.md"} <= {page.name for page in filled}
    for page in filled:
        text = page.read_text()
        assert records.filled(text) == text, f"{page.name}: run python docs/records.py"
    for name in records.DRAWN:
        plot = (records.PLOTS / f"{name}.svg").read_text()
        assert records.digest(name) in plot, f"{name}: run python docs/records.py"


def test_changed_figures_and_unknown_ones_are_told(records):
    page = "<!-- exact_grn: mean, string, pooled, * -->\n| typed |\n<!-- end -->"
    table = records.filled(page)
    value = next(iter(records.found("exact_grn", "mean, string, pooled, ridge").values()))
    assert "typed" not in table and f"{value['value']:#.3g} [" in table
    with pytest.raises(ValueError, match="no figure 'median"):
        records.filled(page.replace("mean", "median"))


def test_no_figure_of_a_result_is_typed(records):
    for page in RESULTS.glob("*.md"):
        typed = records.MARK.sub("", page.read_text())
        assert not re.findall(r"^\|.*\d.*$", typed, re.MULTILINE), page.name
        assert not re.findall(r"\d\.\d|[^\w]\.\d", typed), page.name


def test_headlines_of_the_readme_come_from_records_with_intervals(records):
    part = README.read_text().partition("## What has been measured")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .*\|$", part, re.MULTILINE)[1:]
    assert len(rows) == 5
    for row in rows:
        assert re.search(r"-->[^<]*\d \[[^<]*\d\]<!-- end -->", row), row
    assert not re.search(r"\d\.\d|[^\w]\.\d", records.MARK.sub("", part))


def test_readme_calls_commands_of_all_systems():
    called = {words[0] for words in commands(README)}
    assert {"demo", "fit", "compare", "check", "evaluate"} <= called
    assert {"expression", "embed", "perturbation"} <= called


def test_examples_of_docstrings_print_what_they_say():
    package = ROOT / "infosem_jax"
    paths = [path for path in package.rglob("*.py") if ">>> " in path.read_text()]
    assert len(paths) >= 3
    for path in paths:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found = doctest.testmod(importlib.import_module(name))
        assert found.attempted and not found.failed, name


@pytest.mark.slow
def test_python_of_the_readme_runs(capsys):
    (code,) = blocks(README, "python")
    assert len(code.splitlines()) <= 14
    exec(compile(code, "README.md", "exec"), {})
    plain, informed = map(float, capsys.readouterr().out.splitlines()[-2:])
    assert informed > plain
