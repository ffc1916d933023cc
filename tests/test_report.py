import re
import shutil
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from infosem_jax.grn import plot
from infosem_jax.grn.explorer import explored
from infosem_jax.grn.networks import Network, edges
from infosem_jax.grn.report import Report, write_report
from infosem_jax.outputs import style
from infosem_jax.outputs.explorer import explore
from infosem_jax.outputs.page import Page as HtmlPage
from infosem_jax.outputs.page import Section, write_page

NASTY = ("<script>alert('x')</script>", "$x_{$", 'A"onload="x', "A&amp;B", "--><b>")


def network(genes=("A", "B", "C", "D", "E", "F"), *, gate=True) -> Network:
    rng = np.random.default_rng(0)
    shape = (3, len(genes))
    weight = rng.normal(size=shape) * (np.asarray(genes[:3])[:, None] != np.asarray(genes))
    agreement = np.where(np.abs(weight) > 0.5, 0.99, 0.6)
    probability = rng.uniform(size=shape) if gate else None
    return Network(
        genes[:3], genes, weight, np.full(shape, 0.2), agreement, probability, "toy cells"
    )


def losses(seeds=2, held_out=True) -> pd.DataFrame:
    seed, epoch = np.divmod(np.arange(10 * seeds), 10)
    loss = 5.0 / (1 + epoch) + seed
    held = loss + 1 if held_out else np.nan
    return pd.DataFrame({"seed": seed, "epoch": epoch + 1, "loss": loss, "held_out": held})


def comparison() -> pd.DataFrame:
    rows = [("none", 0, 0.2), ("none", 1, 0.25), ("text", 0, 0.3), ("text", 1, 0.4)]
    return pd.DataFrame(rows, columns=["variant", "seed", "auprc"])


def report(**changes) -> Report:
    net = changes.pop("network", network())
    full = Report(
        title="A toy",
        dataset={"cells": 12345, "sparsity": 0.123456},
        priors=[
            {
                "site": "effect",
                "name": "GeneEmbedding",
                "text": "From text.",
                "coverage": {"genes with text": "5 of 6"},
            }
        ],
        losses=losses(),
        network=net,
        prior_mean=np.asarray(net.weight) * 0.5,
        comparison=comparison(),
        notes=["One gene has no text."],
        config={"fit": {"seeds": [0, 1], "resume": False}, "clip": None},
        versions={"jax": "1.2.3"},
        files={"edges.csv": "all edges"},
    )
    return full._replace(**changes)


# What a screen reader tells of the element that has the focus, within shadow trees too.
FOCUSED = """() => {
  let at = document.activeElement
  while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement
  const told = ["role", "aria-label", "aria-valuetext"].map((name) => at.getAttribute(name))
  const row = at.getRootNode().getElementById(at.getAttribute("aria-activedescendant"))
  return [at.tagName, ...told, at.innerText, row?.ariaLabel].join(" ")
}"""


class Page(HTMLParser):
    """Tags, visible text and references of a page."""

    def __init__(self, html: str):
        super().__init__()
        # Bokeh's script holds what looks like tags and references.
        self.html = re.sub(r"<script>.*?</script>", "<script></script>", html, flags=re.DOTALL)
        self.tags, self.attributes, self.words = [], [], []
        self.feed(self.html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        if self.tags[-1:] not in (["style"], ["script"]):
            self.words.append(data)


def written(tmp_path, **changes) -> Page:
    write_report(tmp_path / "report.html", report(**changes))
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    return written(tmp_path_factory.mktemp("report"))


def test_the_page_says_what_was_fitted_on_what(page):
    assert "fitted to toy cells (12,345 cells)" in page.text
    assert "3 candidate regulators acts on 6 genes, averaged over 2 fits" in page.text
    prior = ("GeneEmbedding on the size of effects", "5 of 6", "One gene has no text.", "0.1235")
    run = ("fit.seeds 0, 1", "fit.resume no", "clip none", "jax 1.2.3", "edges.csv all edges")
    assert all(words in page.text for words in prior + run)
    assert "correlate at 1.00: the network repeats its prior" in page.text


def test_the_table_holds_the_edges_in_words(page):
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", page.html)
    table = edges(network(), top=25)
    assert len(rows) == len(table) == 15
    for row, edge in zip(rows, table.itertuples(), strict=True):
        shown = Page("<p>" + row).text
        verb = "activates" if edge.weight > 0 else "represses"
        unsure = " (sign unsure)" if edge.sign_agreement < 0.9 else ""
        assert shown.startswith(f"{edge.source} {verb}{unsure} {edge.target} ")
        assert f"± {edge.sd:#.2g} {edge.sign_agreement:.2f} {edge.probability:.2f}" in shown
    assert 0 < page.html.count("(sign unsure)") < 15


def test_the_page_stands_alone(page):
    assert "link" not in page.tags and "img" not in page.tags
    references = [v for k, v in page.attributes if k in ("src", "href", "xlink:href", "srcset")]
    assert references and all(value.startswith(("#", "data:")) for value in references)
    assert not re.search(r"url\(\s*['\"]?[^#'\")]|@import", page.html)
    assert page.html.startswith("<!doctype html>")


def test_ids_are_unique_and_references_are_kept(page):
    ids = [value for key, value in page.attributes if key == "id"]
    assert len(set(ids)) == len(ids)
    used = re.findall(r"url\(#([^)]+)\)|xlink:href=\"#([^\"]+)\"", page.html)
    assert used and {a or b for a, b in used} <= set(ids)


def test_figures_have_words_for_those_who_do_not_see_them(page):
    assert page.tags.count("svg") == page.tags.count("figcaption") == 5
    assert page.attributes.count(("role", "img")) == 5
    labels = [value for key, value in page.attributes if key == "aria-label"]
    assert all(labels) and ("lang", "en") in page.attributes


def test_dark_pages_get_light_ink(page):
    assert "currentColor" in page.html and f"fill: {style.INK}" not in page.html
    assert "prefers-color-scheme: dark" in page.html


def test_names_are_text_whatever_they_hold(tmp_path):
    name = " ".join(NASTY)
    page = written(
        tmp_path,
        network=network(NASTY)._replace(name=name),
        prior_mean=None,
        title=name,
        priors=[{"site": name, "name": name, "text": name, "coverage": {name: name}}],
        dataset={name: name},
        notes=[name],
        config={name: name},
        comparison=comparison().replace("text", name),
    )
    assert page.tags.count("script") == 3 and "b" not in page.tags
    assert not any(key.startswith("on") for key, _ in page.attributes)
    assert "What the prior said" not in page.text
    assert page.text.count(name) >= 13
    assert all(page.text.count(gene) > 13 + 5 for gene in NASTY)


def test_a_report_with_little_to_tell(tmp_path):
    page = written(
        tmp_path,
        network=network(gate=False),
        priors=[],
        prior_mean=np.zeros((3, 6)),
        comparison=None,
        notes=[],
        losses=losses().head(0),
        files={},
    )
    assert "given expression alone" in page.text and "averaged over" not in page.text
    assert "The prior mean is the same for every pair" in page.text
    for words in ("Probability", "What the priors add", "How the fit went"):
        assert words not in page.text
    assert page.tags.count("svg") == 2


def test_prior_means_must_be_those_of_the_network(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(3, 6\)"):
        write_report(tmp_path / "report.html", report(prior_mean=np.zeros((2, 6))))


def test_the_same_report_gives_the_same_page_and_leaves_settings_alone(page, tmp_path):
    assert written(tmp_path).html == page.html
    for name in ("svg.fonttype", "svg.hashsalt"):
        assert mpl.rcParams[name] == mpl.rcParamsDefault[name]


@pytest.mark.slow
@pytest.mark.parametrize("regulators", [150, 2000])
def test_a_page_of_two_thousand_genes_stays_below_five_megabytes(tmp_path, regulators):
    rng = np.random.default_rng(0)
    genes = tuple(f"GENE{i:05}" for i in range(2000))
    shape = (regulators, len(genes))
    weight, sd, agreement, probability, score = rng.random((5, *shape), np.float32)
    large = Network(genes[:regulators], genes, weight, sd, agreement, probability, "cells", score)
    full = report(network=large)
    write_report(tmp_path / "report.html", full)
    shown = len(explored(large, full.prior_mean))
    assert 10_000 < shown < 5 * (regulators + len(genes)) + 10_000
    assert (tmp_path / "report.html").stat().st_size < 5e6


def playwright_and_browser():
    sync = pytest.importorskip("playwright.sync_api")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("the page is tried in Chromium or Chrome, and neither is installed")
    return sync, browser


def test_a_page_can_be_explored_offline_in_a_browser(tmp_path):
    sync, browser = playwright_and_browser()
    genes = ("A", "AB", "C", "=1+1", *NASTY)
    written(tmp_path, network=network(genes), prior_mean=None)
    table = edges(network(genes))
    asked, told = [], []
    with sync.sync_playwright() as play:
        started = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = started.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda line: told.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto((tmp_path / "report.html").as_uri())
        rows = f"of {len(table)} rows are shown"
        page.get_by_text(f"{len(table)} {rows}").wait_for()
        page.get_by_text(f"{table['source'][0]}: its 10 first edges").wait_for()

        gene = page.get_by_label("Gene: type part of a name")
        gene.fill("ab")
        of_gene = table.loc[(table["source"] == "AB") | (table["target"] == "AB")]
        page.get_by_text(f"{len(of_gene)} {rows}").wait_for()
        page.get_by_text(f"AB: its {len(of_gene)} first edges").wait_for()
        cells = page.locator(".slick-row .slick-cell:nth-child(2)").all_inner_texts()
        assert cells == of_gene["target"].tolist()

        page.locator(".slick-header-column", has_text="target").click()
        page.locator(".slick-row").first.click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download").click()
        saved = pd.read_csv(download.value.path(), keep_default_na=False)
        assert set(saved["target"]) == {
            f"'{name}" if name.startswith(("=", "-")) else name for name in of_gene["target"]
        }
        np.testing.assert_allclose(saved["weight"], of_gene["weight"], rtol=1e-5)

        # By keyboard: a slider, rows and headings of the table, which is one stop, and its picture.
        gene.fill("")
        page.get_by_text(f"{len(table)} {rows}").wait_for()
        gene.focus()
        sure = int((table["sign_agreement"] > 0.7).sum())
        for key, told_of in [
            ("Tab", "slider Sign agreement at least 0.60"),
            ("End", "slider Sign agreement at least 0.99"),
            ("PageDown", "slider Sign agreement at least"),
            ("Tab", "grid edges"),
            ("Home", f"row 1 of {sure}"),
            ("ArrowDown", f"row 2 of {sure}"),
            ("End", f"row {sure} of {sure}"),
            ("ArrowDown", f"row {sure} of {sure}"),
            ("PageUp", f"row {sure - 12} of {sure}"),
            ("Home", f"row 1 of {sure}"),
            ("ArrowUp", "columnheader"),
            ("Home", "columnheader source"),
            ("ArrowRight", "columnheader target"),
            ("Enter", "columnheader target"),
            ("ArrowDown", "row 1 of"),
            ("Tab", "BUTTON Download"),
        ]:
            page.keyboard.press(key)
            assert told_of in " ".join(page.evaluate(FOCUSED).split()), key
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Home")
        page.keyboard.press("ArrowDown")
        chosen = page.locator(".slick-row:has(.slick-cell.selected) .slick-cell").first
        regulator = chosen.inner_text()
        page.keyboard.press("Enter")
        around = page.get_by_label("Neighbourhood of")
        assert around.evaluate("field => field.matches(':focus')")
        assert around.input_value() == regulator and around.is_visible()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        assert "edges" in page.evaluate(FOCUSED)

        gene.fill("not a gene")
        page.get_by_text("No row is left").wait_for()
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

        plain = started.new_context(java_script_enabled=False).new_page()
        plain.goto((tmp_path / "report.html").as_uri())
        assert plain.get_by_role("rowheader").first.is_visible()
        assert plain.locator("noscript p").is_visible()
    assert not told
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []


@pytest.mark.slow
def test_rows_above_a_ceiling_are_left_out(tmp_path):
    sync, browser = playwright_and_browser()
    table = pd.DataFrame({"gene": list("abc"), "lfsr": [0.0, 0.3, 1.0]})
    parts = explore(
        table, search=["gene"], label="Gene", file="a.csv", ceilings={"lfsr": "lfsr at most"}
    )
    page = HtmlPage("A", "b", [], [], [Section("C", explorer=parts.layout)], {})
    write_page(tmp_path / "page.html", page)
    with sync.sync_playwright() as play:
        started = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        shown = started.new_page()
        shown.goto((tmp_path / "page.html").as_uri())
        shown.get_by_text("3 of 3 rows are shown").wait_for()
        shown.get_by_role("slider").focus()
        for key, left in (("Home", 1), ("PageUp", 1), ("End", 3)):
            shown.keyboard.press(key)
            shown.get_by_text(f"{left} of 3 rows are shown").wait_for()


def test_losses_have_a_line_for_each_seed():
    figure = plot.losses(losses(seeds=3))
    assert [len(ax.lines) for ax in figure.axes] == [3, 3]
    assert len(plot.losses(losses(held_out=False)).axes) == 1
    with pytest.raises(ValueError, match="columns seed, epoch, loss, held_out"):
        plot.losses(losses().drop(columns="epoch"))


def test_top_edges_are_labelled_in_order():
    table = edges(network(), top=4)
    ax = plot.top_edges(network(), 4)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == (table["source"] + " → " + table["target"]).tolist()
    assert ax.yaxis_inverted()
    points = np.concatenate([line.get_xydata() for line in ax.lines if line.get_marker() == "o"])
    np.testing.assert_allclose(points[np.argsort(points[:, 1]), 0], table["weight"])


def test_out_degree_counts_targets_of_either_sign():
    for top in (8, None):
        # As many edges as there are genes, if not told.
        table = edges(network(), top=top or 6)
        ax = plot.out_degree(network(), top=top)
        names = [label.get_text() for label in ax.get_yticklabels()]
        widths = np.array([bar.get_width() for bar in ax.patches]).reshape(2, -1)
        counts = table["source"].value_counts().to_dict()
        assert dict(zip(names, widths.sum(0), strict=True)) == counts
        signs = [(table["weight"] > 0).sum(), (table["weight"] < 0).sum()]
        assert widths.sum(1).tolist() == signs


def test_neighbourhood_draws_arrows_for_activation_and_bars_for_repression():
    table = edges(network())
    near = table.loc[(table["source"] == "B") | (table["target"] == "B")].head(5)
    ax = plot.neighbourhood(network(), "B", 5)
    shown = {text.get_text() for text in ax.texts}
    assert shown == set(near["source"]) | set(near["target"])
    colours = [mpl.colors.to_hex(arrow.get_edgecolor()) for arrow in ax.patches]
    assert colours == [style.ACTIVATES if w > 0 else style.REPRESSES for w in near["weight"]]
    with pytest.raises(ValueError, match="'F' is no regulator"):
        plot.neighbourhood(network(), "F")


def test_prior_posterior_counts_every_pair():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 30))
    ax = plot.prior_posterior(x, x + 1)
    assert ax.collections[0].get_array().sum() == 600
    assert ax.get_xlabel().startswith("Prior") and "no unit" in ax.get_xlabel()


def test_comparison_shows_every_seed_and_the_mean():
    ax = plot.comparison(comparison())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["none", "text"]
    points, means = ax.lines[::2], ax.lines[1::2]
    assert [list(line.get_xdata()) for line in points] == [[0.2, 0.25], [0.3, 0.4]]
    assert [line.get_xdata()[0] for line in means] == pytest.approx([0.225, 0.35])
    with pytest.raises(ValueError, match="found 0 rows"):
        plot.comparison(comparison().head(0))


def test_figures_are_drawn_on_axes_that_are_given():
    from matplotlib.figure import Figure

    x = np.zeros((2, 2))
    for draw, value in {
        plot.top_edges: (network(),),
        plot.out_degree: (network(),),
        plot.neighbourhood: (network(), "B"),
        plot.prior_posterior: (x, x),
        plot.comparison: (comparison(),),
    }.items():
        ax = Figure().subplots()
        assert draw(*value, ax=ax) is ax and ax.has_data()
