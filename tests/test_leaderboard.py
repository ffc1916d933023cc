import re
from html.parser import HTMLParser

import numpy as np
import pytest

from infosem_jax.benchmark.grn import leaderboard
from infosem_jax.grn.accuracy import At, Cell
from infosem_jax.grn.paired import HEADLINE, METRICS
from infosem_jax.outputs.page import write_board
from infosem_jax.outputs.style import INK

NASTY = ("<script>alert('x')</script>", "$x_{$", 'A"onload="x', "a|b", "_hidden", "../../up")
ABOUT = {"chance": "Control: a random order.", "model": "A model.", "labels": "Learns labels."}


def cell(method, value, split="all", dataset="d", seed=0, network="string", scored=True):
    rng = np.random.default_rng(seed)
    ratio = value if scored else np.nan
    metrics = dict.fromkeys(METRICS, float(value)) | {HEADLINE: ratio, "base_rate": 0.1}
    metrics |= {f"{HEADLINE}_chance": 1.05 if scored else np.nan, "auprc": 0.1 * value}
    luck = 0.1 * rng.normal(size=30)
    return Cell(
        At(dataset, network, "TFs+500", method, split, seed),
        metrics,
        1.5,
        ("A",) if scored else (),
        np.full(int(scored), float(value)),
        0.1 * (value + luck),
        ratio + luck,
        np.linspace(0.8, 0.1, 101),
    )


def grid():
    """Return two data sets, two seeds and three splits; `labels` cannot do without labels."""
    strength = {"chance": 1.0, "model": 2.0, "labels": 3.0}
    return [
        cell(method, value + 0.1 * seed, split, dataset, seed)
        for method, value in strength.items()
        for split in ("all", "seen", "unseen_both")
        for dataset in ("d", "e")
        for seed in range(2)
        if (method, split) != ("labels", "all")
    ]


def write(out, cells, about=ABOUT, notes=("A note.",)):
    page = leaderboard.make_page(cells, notes=notes, about=about, versions={"jax": "9.8"})
    write_board(out, page)
    return (out / "table.md").read_text("utf-8"), (out / "report.html").read_text("utf-8")


class Page(HTMLParser):
    """Collects ids, text and what would be loaded or run."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.links, self.open, self.tags, self.text = [], [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "br", "path", "use", "rect", "link"):
            self.open.append(tag)
        for key, value in attrs:
            assert not key.startswith("on"), (tag, key)
            self.ids += [value] if key == "id" else []
            self.links += [value] if key in ("href", "src", "xlink:href") else []

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def section(text, heading):
    return re.split(r"^## ", text, flags=re.MULTILINE)[1:][
        [part.split("\n")[0] for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]].index(
            heading
        )
    ]


def methods(text):
    return [line.split(" | ")[0].strip("| ") for line in text.splitlines() if line[:2] == "| "]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("board")
    write(out, [cell("model", 2.0, network="gone")])
    assert len(list((out / "plots").iterdir())) == 3
    (out / "plots" / "mine.png").touch()
    return out, *write(out, grid())


def test_every_file_is_there_and_whole(written):
    out, _, _ = written
    assert sorted(p.name for p in out.iterdir()) == ["plots", "report.html", "table.md"]
    splits = ("all", "seen", "unseen_both")
    want = {
        f"{kind}_string_TFs+500_{split}.png"
        for kind in ("bars", "bias", "precision-recall")
        for split in splits
    }
    found = {p.name: p.read_bytes() for p in (out / "plots").iterdir()}
    # A plot of an earlier run would be taken for one of this; other files are left alone.
    assert set(found) == want | {"drops_string_TFs+500.png", "mine.png"}
    assert all(found[name].endswith(b"IEND\xaeB`\x82") for name in want)


def test_table_leads_with_the_score_per_regulator(written):
    _, text, _ = written
    board = section(text, "All metrics")
    assert text.index("- A note.") < text.index("## Leaderboard") < text.index("## Rules")
    assert methods(board) == [
        *("Method", "---", "model", "*chance*"),
        *("Method", "---", "labels", "model", "*chance*"),
        *("Method", "---", "labels", "model", "*chance*"),
    ]
    model = next(line for line in board.splitlines() if line.startswith("| model"))
    luck = [np.random.default_rng(seed).normal(size=30) for seed in range(2)]
    low, high = np.percentile(2.05 + 0.1 * np.mean(luck, 0), [2.5, 97.5])
    # The luck of the draws is around 2.0 and 2.1 in the two seeds.
    assert f"| 2.05 [{low:.2f}, {high:.2f}] | 0.07 | 1.05 | 2.05 | 2.05 | 2.05 |" in model
    assert "| 1.5 | 4 of 4 |" in model
    assert "**jax**: 9.8" in text and "absent from the known network" in text


def test_comparison_with_the_best_control(written):
    _, text, page = written
    controls = section(text, "Do methods beat their controls?")
    model = next(line for line in controls.splitlines() if line.startswith("| model"))
    assert "+1.00 [+1.00, +1.00]" in model and "4 of 4 | above" in model
    assert methods(controls).count("*chance*") == 0
    assert "5 of 5 comparisons" in page


def test_page_is_complete_and_needs_nothing_else(written):
    _, _, text = written
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") for link in page.links)
    assert "script" not in page.tags and "http" not in re.sub(r'\bxmlns(:\w+)?="[^"]*"', "", text)
    assert page.tags.count("svg") == 10
    assert INK not in text.split("</style>", 1)[1]
    order = ["Leaderboard", "Where pooled scores come from", "What is left on unseen genes"]
    order += ["Do methods beat", "Each data set", "Precision and recall", "Rules", "Versions"]
    places = [page.text.index(heading) for heading in order]
    assert places == sorted(places)


def test_names_are_shown_as_they_are(tmp_path):
    about = {NASTY[1]: "Control: <b>no</b>."}
    cells = [
        cell(name, i + 1.0, split, NASTY[0], 0, NASTY[5])
        for i, name in enumerate(NASTY)
        for split in (NASTY[4], NASTY[1])
    ]
    text, page = write(tmp_path, cells, about, notes=[NASTY[0]])
    parsed = Page(page)
    assert {"script", "b"}.isdisjoint(parsed.tags)
    assert all(name in parsed.text for name in NASTY)
    assert "<script>" not in re.sub(r"\\<", "", text) and r"a\|b" in text
    assert {p.parent.name for p in tmp_path.rglob("*.png")} == {"plots"}
    rows = [line for line in text.splitlines() if line[:2] == "| "]
    board = rows[: len(NASTY) + 2]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in board}) == 1


def test_incomplete_methods_come_last_and_are_marked(tmp_path):
    cells = [c for c in grid() if c.at.split == "seen"]
    cells.append(cell("partial", 9.0, "seen"))
    text, page = write(tmp_path, cells)
    assert methods(section(text, "All metrics"))[2:] == ["labels", "model", "*chance*", "partial"]
    assert "1 of 4 †" in text and "9.00 †" in page
    assert "partial: d seed 1, e seed 0, e seed 1" in text


@pytest.mark.parametrize("about", [ABOUT, {}])
def test_one_cell_without_scored_regulators(tmp_path, about):
    text, page = write(tmp_path, [cell("chance", 1.2, "seen", scored=False)], about, notes=())
    assert "| – |" in text and "nan" not in (text + Page(page).text).lower()
    assert "There is no pair of a method and a control" in text


def test_many_methods_with_long_names(tmp_path):
    names = [f"a_method_whose_name_goes_on_and_on_{i:02d}_with_a_variant" for i in range(40)]
    text, page = write(tmp_path, [cell(name, 1 + i / 10) for i, name in enumerate(names)])
    assert all(name in text and name in page for name in names)
    assert len(page) < 2**20


def test_read_outs_have_the_description_of_their_method(tmp_path):
    cells = [cell("chance.mean", 1.0), cell("model", 2.0), cell("model.prior", 1.5)]
    text, _ = write(tmp_path, cells)
    assert "**model.prior**: A model." in text
    assert "*chance.mean*" in section(text, "Leaderboard")


def test_plots_with_the_same_file_name_do_not_replace_each_other(tmp_path):
    cells = [cell("model", 1.5, network=name) for name in ("a/b", "a?b")]
    write(tmp_path, cells)
    assert len(list((tmp_path / "plots").glob("bias_*.png"))) == 2


def test_nothing_measured_is_refused(tmp_path):
    with pytest.raises(ValueError, match="found none"):
        write(tmp_path, [])
    assert not list(tmp_path.iterdir())
