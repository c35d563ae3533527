"""Figures: what they hold, how they are shown, and that nothing global is touched."""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import matplotlib.text
import nbformat
import numpy as np
import pytest
import torch
from conftest import noise, picture
from forked import run_forked
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from nbconvert import HTMLExporter
from PIL import Image

from nst_helpers import ImageError, figures

PACKAGE = Path(figures.__file__).parents[1]


def history(steps: int = 30) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(
            step=i, loss=100 / i, seconds=i / 20, content={"relu4_2": 1 / i}, style={"a": 2 / i, "b": 4 / i}
        )
        for i in range(1, steps + 1)
    ]


KINDS: dict[str, Callable[[], Figure]] = {
    "pictures": lambda: figures.pictures({"one": picture(), "another": picture(40, 20)}, title="Two pictures"),
    "feature_maps": lambda: figures.feature_maps(noise(1, 6, 8, 9), 4, title="Four maps"),
    "layers": lambda: figures.feature_maps({"relu1_1": noise(1, 6, 8, 9), "relu2_1": noise(1, 6, 4, 5)}, 3),
    "heatmaps": lambda: figures.heatmaps({"photo": noise(1, 9, 9), "style": noise(1, 9, 9)}, title="Two matrices"),
    "toy": lambda: figures.heatmaps({"F": noise(4, 9)}, shared=False),
    "log": lambda: figures.heatmaps({"G": noise(20, 20)}, log=True, shared=False),
    "losses": lambda: figures.losses(history(), title="It falls"),
    "lines": lambda: figures.lines({"a": [1, 2, 3], "b": ([1, 2], [3, 4])}, log="xy", points={"yours": (2, 2)}),
    "bars": lambda: figures.bars({"a": 1.0, "b": 2.0}, highlight="a"),
    "groups": lambda: figures.bars({"relu1_1": {"before": 1, "after": 0.1}, "relu2_1": {"before": 2}}, log=True),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_figure_becomes_a_picture_of_the_courses_width(kind):
    figure = KINDS[kind]()
    assert type(figure) is Figure
    data, form = figures.encode(figure)
    image = Image.open(io.BytesIO(data))
    assert image.format == form.upper()
    assert image.width == (533 if kind == "pictures" else 800)  # two pictures are no wider than two of three
    assert 100 < image.height < 1300
    assert len(data) <= 150_000
    # Something is drawn, and nothing is cut off at the edge: the outermost pixels left and right are the background.
    pixels = np.asarray(image.convert("L")).astype(int)
    assert pixels.min() < 128
    assert pixels[:, :2].min() > 230
    assert pixels[:, -2:].min() > 230


@pytest.mark.slow
def test_pyplot_is_never_imported_and_styles_stay_as_they_were():
    code = """
import sys
assert "matplotlib" not in sys.modules
import matplotlib
# Reading the backend would itself import pyplot.
read = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != "backend"}
before = read()
import torch
from nst_helpers import figures
figures.encode(figures.pictures({"a": torch.rand(1, 3, 8, 8)}, title="A"))
figures.encode(figures.losses([3.0, 2.0, 1.0]))
assert "matplotlib.pyplot" not in sys.modules
assert "IPython" not in sys.modules
assert read() == before
"""
    run_forked(code)


def test_no_other_folder_imports_matplotlib():
    lines = [
        (path.relative_to(PACKAGE).as_posix(), line)
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.match(r"\s*(import|from) matplotlib\b", line)
    ]
    assert {name for name, _ in lines} == {"figures/draw.py", "figures/canvas.py"}


def noisy_figure() -> Figure:
    return figures.pictures({f"noise {i}": noise(1, 3, 256, 256, seed=i) for i in range(4)}, columns=2)


def test_large_figures_become_jpegs_within_the_limit():
    data, form = figures.encode(noisy_figure())
    assert form == "jpeg"
    assert len(data) <= 150_000


@pytest.fixture
def shell():
    """An IPython that keeps what is displayed."""
    shell = InteractiveShell.instance()
    shell.display_pub, kept = CapturingDisplayPublisher(), shell.display_pub
    yield shell
    shell.display_pub = kept
    InteractiveShell.clear_instance()


SAID = 'Two bars: "A" is < "B" & grows.'


@pytest.mark.parametrize(("figure", "kind"), [(KINDS["bars"], "png"), (noisy_figure, "jpeg")])
def test_show_puts_its_text_into_the_pages_alt_and_nowhere_else(figure, kind, shell, capsys):
    assert figures.show(figure(), f" {SAID} ") is None
    assert capsys.readouterr().out == ""
    (output,) = shell.display_pub.outputs
    (found,) = images_of(output["data"]["text/html"])
    assert found["alt"] == SAID
    assert found["src"].startswith(f"data:image/{kind};base64,")
    assert Image.open(io.BytesIO(base64.b64decode(found["src"].split(",")[1]))).width >= 320
    # What pages without HTML show, and what a notebook's check compares: the same each time.
    assert output["data"]["text/plain"] == SAID
    assert set(output["data"]) == {"text/html", "text/plain"}
    assert not output["data"]["text/html"].split("\n")[0].strip()  # what JupyterLab shows of a folded output


def test_show_prints_a_caption_where_there_is_one(shell, capsys):
    figures.show(KINDS["bars"](), SAID, caption="Measured on a laptop.")
    assert capsys.readouterr().out == "Measured on a laptop.\n"


def test_nbconvert_keeps_the_text(shell):
    figures.show(KINDS["bars"](), SAID)
    (output,) = shell.display_pub.outputs
    shown = nbformat.v4.new_output("display_data", output["data"])
    lesson = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("figures.show(…)", outputs=[shown])])
    page, _ = HTMLExporter().from_notebook_node(lesson)
    assert [found["alt"] for found in images_of(page)] == [SAID]


def images_of(page: str) -> list[dict[str, str]]:
    """The attributes of each image of a page, as a browser reads them."""
    found: list[dict[str, str]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag == "img":
                found.append(dict(attributes))

    Reader().feed(page)
    return found


@pytest.mark.parametrize("text", ["", "  ", "two\nlines"])
def test_show_insists_on_one_line_of_text(text):
    with pytest.raises(ValueError, match="one line of text"):
        figures.show(KINDS["bars"](), text)


def test_pictures_are_clipped_and_not_rescaled():
    figure = figures.pictures(
        {"out of range": torch.tensor([-1.0, 0.25, 0.5, 2.0]).expand(1, 3, 2, 4), "grey": noise(3, 4)}
    )
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown[0, :, 0], [0, 0.25, 0.5, 1])
    assert figure.axes[1].images[0].get_clim() == (0, 1)
    assert [a.get_title() for a in figure.axes] == ["out of range", "grey"]
    assert not any(a.axison for a in figure.axes)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([picture()], "a list came"),
        (picture(), "a Tensor came"),
        ({}, "an empty one came"),
        ({"a": np.zeros((8, 8, 3))}, "a ndarray came"),
        ({"a": Image.new("RGB", (8, 8))}, "a Image came"),
        ({"a": None}, "a NoneType came"),
        ({"a": picture().permute(0, 2, 3, 1)}, "(1, 32, 40, 3) came"),
        ({"a": picture()[..., :0]}, "(1, 3, 32, 0) came"),
        ({"a": torch.tensor(1.0)}, "() came"),
        ({"a": (picture() * 255).to(torch.uint8)}, "bytes came: use image.float() / 255"),
    ],
)
def test_what_is_no_image_is_told_in_a_sentence(images, words):
    with pytest.raises(ImageError) as caught:
        figures.pictures(images)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def drawn_numbers(figure: Figure) -> list[np.ndarray]:
    figures.encode(figure)
    return [np.asarray(image.get_array()) for axis in figure.axes for image in axis.images]


def test_images_that_carry_gradients_are_drawn_like_those_that_do_not():
    for draw, values in (
        (lambda x: figures.pictures({"optimised": x}), picture()),
        (lambda x: figures.heatmaps({"gram": x}), noise(1, 3, 3)),
        (figures.feature_maps, noise(1, 3, 4, 4)),
    ):
        plain, found = drawn_numbers(draw(values)), drawn_numbers(draw(values.clone().requires_grad_()))
        assert plain
        np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize(
    ("count", "rows", "columns"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 4), (5, 2, 3), (6, 2, 3), (8, 2, 4), (9, 3, 3)],
)
def test_panels_are_laid_out_in_even_rows(count, rows, columns):
    figure = figures.pictures({str(i): picture() for i in range(count)})
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (rows, columns)


@pytest.mark.parametrize(("count", "share"), [(1, 1 / 2), (2, 1 / 3), (3, 1 / 3)])
def test_few_pictures_leave_no_part_of_the_figure_empty(count, share):
    """On a dark page the empty part was a white block. One picture has half of the page's width, two a third each."""
    figure = figures.pictures({str(i): picture(30, 30, i) for i in range(count)})
    FigureCanvasAgg(figure).draw()
    widths = [axis.get_window_extent().width for axis in figure.axes]
    assert sum(widths) > 0.9 * figure.bbox.width
    assert widths[0] == pytest.approx(800 * share, rel=0.05)


def test_feature_maps_show_the_strongest_channels_in_their_order():
    maps = torch.ones(1, 5, 2, 2) * torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0]).view(1, 5, 1, 1)
    figure = figures.feature_maps(maps, 3)
    assert [a.get_title() for a in figure.axes] == ["channel 1", "channel 3", "channel 4"]


def test_heat_maps_share_one_scale_unless_told_otherwise():
    matrices = {"small": torch.rand(10, 10), "large": torch.rand(10, 10) * 100}
    shared, own = figures.heatmaps(matrices), figures.heatmaps(matrices, shared=False)
    assert len({a.images[0].get_clim() for a in shared.axes[:2]}) == 1
    assert len({a.images[0].get_clim() for a in own.axes if a.images}) == 2


def test_small_heat_maps_have_readable_numbers():
    figure = figures.heatmaps({"F": torch.tensor([[0.0, 1.0], [0.5, 0.25]])})
    (axis,) = figure.axes
    assert [t.get_text() for t in axis.texts] == ["0", "1", "0.5", "0.25"]
    for text, value in zip(axis.texts, [0, 1, 0.5, 0.25], strict=True):
        drawn = axis.images[0]
        ground, ink = (luminance(c) for c in (drawn.cmap(drawn.norm(value))[:3], to_rgb(text.get_color())))
        assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) > 4.0


@pytest.mark.parametrize("names", [["F"], ["F", "G"], ["F", "G", "H"]])
def test_the_numbers_in_heat_maps_stay_in_their_cells(names):
    values = -1.23e-4 * (1 + torch.rand(4, 9, generator=torch.Generator().manual_seed(0)))
    figure = figures.heatmaps(dict.fromkeys(names, values), title="Small numbers with many letters")
    FigureCanvasAgg(figure).draw()
    for axis in figure.axes:
        (left, _), (right, _) = axis.transData.transform([(0, 0), (1, 0)])
        assert max(text.get_window_extent().width for text in axis.texts) < right - left


def luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance of an sRGB colour, as in WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_constant_matrix_has_one_colour_and_a_scale_that_holds_it():
    for log in (False, True):
        figure = figures.heatmaps({"zero": torch.zeros(9, 9), "one": torch.ones(9, 9)}, log=log)
        zero, one = drawn_numbers(figure)[:2]
        assert (zero.min(), zero.max(), one.min(), one.max()) == (0, 0, 1, 1)
        low, high = figure.axes[1].images[0].get_clim()
        assert low < high
        assert low <= 1 <= high


def test_losses_of_a_history_show_what_the_total_is_made_of():
    axis = figures.losses(history()).axes[0]
    assert axis.get_yscale() == "log"
    assert axis.get_xlabel() == "closure evaluations"
    assert {t.get_text() for t in axis.texts} == {"total", "content", "style"}
    assert [line.get_ydata()[-1] for line in axis.lines] == pytest.approx([100 / 30, 1 / 30, 3 / 30])


def test_losses_compare_histories_by_seconds():
    axis = figures.losses({"Adam": history(30), "L-BFGS": history(20)}, x="seconds").axes[0]
    assert axis.get_xlabel() == "seconds"
    assert [line.get_xdata()[-1] for line in axis.lines] == [1.5, 1.0]
    with pytest.raises(ValueError, match="no seconds"):
        figures.losses({"plain": [1.0, 2.0]}, x="seconds")


def test_a_curve_that_explodes_says_where():
    axis = figures.losses({"calm": [3.0, 2.0, 1.0], "wild": [3.0, float("inf"), float("nan")]}).axes[0]
    assert {t.get_text() for t in axis.texts} == {"calm", "wild: NaN at 2"}


def test_lines_differ_in_more_than_colour_and_their_labels_never_touch():
    axis = figures.lines({f"line {i}": [1.0, 1.0 + i / 1000] for i in range(7)}, markers=False).axes[0]
    looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in axis.lines}
    assert len(looks) == 7
    assert len({pattern for _, pattern in looks}) >= 6
    heights = sorted(t.get_position()[1] for t in axis.texts)
    assert min(np.diff(heights)) > 0.07
    assert heights[-1] <= 1


@pytest.mark.parametrize("log", ["", "xy"])
def test_the_labels_of_curves_that_end_at_different_places_never_touch(log):
    stops = {
        "textbook": (27, 0.141),
        "package, float32": (24, 0.148),
        "package, bfloat16": (13.5, 0.148),
        "all": (14, 1),
    }
    curves = {name: ([0.1, x], [9.0, y]) for name, (x, y) in stops.items()}
    figure = figures.lines(curves, log=log, markers=False)
    FigureCanvasAgg(figure).draw()
    boxes = [t.get_window_extent() for t in figure.axes[0].texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(figure.bbox.x0 <= b.x0 and b.x1 <= figure.bbox.x1 for b in boxes)


def test_bars_are_labelled_with_their_values_in_the_order_given():
    figure = figures.bars({"noise": 0.5234, "content": 0.25, "style": 1e-6}, xlabel="loss", highlight="content")
    axis = figure.axes[0]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["noise", "content", "style"]
    assert [t.get_text() for t in axis.texts] == ["0.523", "0.25", "1e-06"]
    assert axis.yaxis_inverted()
    assert [p.get_hatch() or "" for p in axis.patches] == ["", "///", ""]


def test_a_legend_covers_no_bar_and_no_number():
    figure = figures.bars({"a": {"before": 1, "after": 1.1}, "b": {"before": 1.2, "after": 1}}, title="Nearly full")
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    (axis,) = figure.axes
    drawn = [*axis.patches, *axis.texts, axis.xaxis]
    assert not any(box.overlaps(part.get_tightbbox()) for part in drawn)


@pytest.mark.parametrize("values", [[80, 20, 2.5], [0.4, 0.1, 0.02]])
def test_a_logarithmic_axis_of_middling_numbers_has_plain_ones(values):
    figure = figures.lines({"loss": values}, log="y")
    FigureCanvasAgg(figure).draw()
    axis = figure.axes[0].yaxis
    low, high = axis.get_view_interval()
    labels = [label.get_text() for label in (*axis.get_majorticklabels(), *axis.get_minorticklabels())]
    labels = [label for label in labels if label]
    assert not any("$" in label for label in labels)
    assert sum(low <= float(label) <= high for label in labels) >= 2


def test_long_titles_are_wrapped_and_fit():
    title = "A finding that needs a good many words to be said in full: more than one line of this figure has room for"
    names = ("a name that is much too long for one line", "short", "another")
    figure = figures.pictures({name: picture() for name in names}, title=title)
    data, _ = figures.encode(figure)
    assert figure._suptitle.get_text().count("\n") == 1
    assert figure.axes[0].get_title().count("\n") == 1
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert pixels[:, -2:].min() > 230


WORDS = [r"a $5 note \frac{1", "_hidden", "$x", r"\alpha", "cost: $3 to $4", "50 % & #1 {", "$$"]


@pytest.mark.parametrize("words", [*WORDS[:2], *(pytest.param(words, marks=pytest.mark.slow) for words in WORDS[2:])])
def test_labels_are_drawn_as_they_are(words):
    """A dollar sign starts no formula, and an underscore hides no name."""
    a, two = torch.rand(1, 3, 8, 8), {words: {words: 1.0, "b": 2.0}}
    drawn = {
        "pictures": figures.pictures({words: a}, title=words),
        "feature maps": figures.feature_maps({words: torch.rand(1, 4, 6, 6)}, 2, title=words),
        "heat maps": figures.heatmaps({words: torch.rand(4, 4)}, title=words),
        "losses": figures.losses({words: [3.0, float("nan")], "b": [2.0, 1.0]}, title=words),
        "lines": figures.lines({words: [3, 2], "b": [1, 2]}, xlabel=words, ylabel=words, points={words: (1, 2)}),
        "bars": figures.bars(two, title=words, xlabel=words, highlight=words),
    }
    for kind, figure in drawn.items():
        figures.encode(figure)
        texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_visible()]
        assert any(words in text.get_text() for text in texts), kind
        ours = [text for text in texts if words in text.get_text() or "NaN" in text.get_text()]
        assert not any(text.get_parse_math() for text in ours), kind
    assert words in [text.get_text() for text in drawn["bars"].legends[0].get_texts()]


def test_very_long_names_leave_room_for_what_they_name():
    name = "a_very_long_name_without_any_space_" * 12
    drawn = [
        figures.bars({name: 1.0, "b": 2.0}),
        figures.bars({"a": {name: 1.0, "b": 2.0}}),
        figures.lines({name: [1, 2, 3], "b": [3, 2, 1]}, points={name: (2, 2)}),
        figures.pictures({name: torch.rand(1, 3, 8, 8), name[:-1]: torch.rand(1, 3, 8, 8)}, title=name),
        figures.heatmaps({name: torch.rand(3, 3)}),
    ]
    for figure in drawn:
        figures.encode(figure)
        width, height = figure.bbox.size
        box = figure.axes[0].get_window_extent()
        assert box.width > 0.12 * width
        assert box.height > 0.12 * height
        for text in figure.findobj(matplotlib.text.Text):
            if text.get_text() and text.get_visible():
                assert text.get_window_extent().x1 < width * 1.05, text.get_text()
