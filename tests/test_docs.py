"""What README and documentation say about commands, files and functions is so."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from infosem_jax.cli.app import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted(
    [README, ROOT / "CONTRIBUTING.md"]
    + [page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts]
)


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


def test_readme_calls_commands_of_all_systems():
    called = {words[0] for words in commands(README)}
    assert {"demo", "fit", "compare", "check", "evaluate"} <= called
    assert {"expression", "embed", "perturbation"} <= called


@pytest.mark.parametrize("name", ["data.dataset", "grn.metrics", "grn.fitting"])
def test_examples_of_docstrings_print_what_they_say(name):
    found = doctest.testmod(importlib.import_module(f"infosem_jax.{name}"))
    assert found.attempted and not found.failed


@pytest.mark.slow
def test_python_of_the_readme_runs(capsys):
    (code,) = blocks(README, "python")
    assert len(code.splitlines()) <= 14
    exec(compile(code, "README.md", "exec"), {})
    plain, informed = map(float, capsys.readouterr().out.splitlines()[-2:])
    assert informed > plain
