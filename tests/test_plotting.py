"""Texts of users in figures and tables: no formulas, no boxes, no warnings, columns that align."""

import io
import logging

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from src import plotting
from src.plotting import class_labels, display_width, font_file, label, plain_label, text_table

NAMES = [
    "$5",
    "$a_b$",
    "Äpfel",
    "苹果",
    "りんご",
    "사과",
    "تفاح",
    "תפוח 12",
    "🍎",
    "a\nb",
    "caf\udce9",
    "x" * 300,
    r"\alpha",
    "a$",
]


@pytest.fixture
def own_fonts(monkeypatch):
    """Only the fonts that come with matplotlib, whatever is installed."""
    own = [font for font in fontManager.ttflist if font.fname.startswith(matplotlib.get_data_path())]
    monkeypatch.setattr(fontManager, "ttflist", own)
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda *args, **kwargs: [])
    monkeypatch.setattr(plotting, "_reported", [])
    _forget_fonts()
    with matplotlib.rc_context({"font.family": ["sans-serif"]}):
        yield
    _forget_fonts()


def _forget_fonts() -> None:
    plotting._without_font.cache_clear()
    plotting._family_files.cache_clear()


def draw(texts: list[str]) -> None:
    figure = Figure((12, 8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xticks(range(len(texts)), texts, rotation=90)
    axes.set_title(texts[0], weight="bold")
    axes.text(0, 0, "\n".join(texts))
    figure.savefig(io.BytesIO(), format="png")


def test_any_name_is_drawn_without_a_warning():
    draw([label(name) for name in NAMES])
    draw(class_labels(NAMES))
    assert label("$a_b$") == r"\$a_b\$" and plain_label("$a_b$") == "$a_b$"
    assert label("a\nb\x1b[2J") == r"a\nb\x1b[2J" and label("caf\udce9") == r"caf\udce9"
    assert label("A\u0308pfel") == "Äpfel"  # as macOS spells it in file names


def test_without_a_font_a_class_is_its_number_and_it_is_said_once(own_fonts, caplog):
    with caplog.at_level(logging.WARNING):
        shown = class_labels(["苹果", "Äpfel", "apple 苹果", "x"])
        assert class_labels(["橙子", "x"])[0] == "#0" and label("苹果.png") == "??.png"
    assert shown == ["#0", "Äpfel", "#2 apple", "x"]
    assert [record.message.count("fonts-noto-cjk") for record in caplog.records] == [1]
    draw(shown)


def test_a_font_is_found_by_its_characters(own_fonts, tmp_path):
    """Any installed font will do: here one of mathematics, for a letter that the default lacks."""
    letter = next(
        c for c in map(chr, range(0x2100, 0x2C00)) if not plotting._undrawable(c) and c not in default_glyphs()
    )
    assert label(letter) == letter and len(matplotlib.rcParams["font.family"]) == 2
    assert "DejaVuSans.ttf" not in font_file(letter) and "DejaVuSans.ttf" in font_file("7")
    draw([letter])


def test_pillow_draws_a_name_in_the_font_that_has_most_of_it(own_fonts):
    letter = next(
        c for c in map(chr, range(0x2100, 0x2C00)) if not plotting._undrawable(c) and c not in default_glyphs()
    )
    only = default_glyphs() - plotting._glyphs(font_file(letter))
    other = min(c for c in only if c.isalpha())  # no font has both
    assert class_labels([other + letter]) == [other + letter]
    assert class_labels([other + letter, letter, "é"], formulas=False) == [f"#0 {other}", letter, "é"]


def test_letters_are_joined_from_right_to_left():
    """Joined, three letters of Arabic are narrower than side by side; Hebrew in another order is another picture."""
    if tuple(map(int, matplotlib.__version__.split(".")[:2])) < (3, 11):
        pytest.skip("matplotlib joins letters from 3.11 on")
    assert text_picture("ببب").any(0).sum() < 3 * text_picture("ب").any(0).sum()
    hebrew = text_picture("תח"), text_picture("ח"), text_picture("ת")
    left = hebrew[0].any(0).nonzero()[0]
    first = hebrew[0][:, left[0] : left[0] + hebrew[1].any(0).sum()]
    assert (first == hebrew[1][:, hebrew[1].any(0)]).mean() > 0.9


def test_numbers_stay_on_their_side_of_a_word_from_right_to_left():
    assert label("תפוח/011.png") == "\u200eתפוח\u200e/011.png" and class_labels(["تفاح 2"]) == ["\u200eتفاح\u200e 2"]
    draw([f"is {label('שני תפוחים')} 15 %"])
    assert label("Äpfel und Öl") == "Äpfel und Öl"


def text_picture(text: str) -> np.ndarray:
    """Where ink is, bool (H, W)."""
    figure = Figure((3, 1), dpi=100)
    figure.text(0.1, 0.4, label(text), size=30)
    output = io.BytesIO()
    figure.savefig(output, format="raw")
    return np.frombuffer(output.getvalue(), np.uint8).reshape(100, 300, 4)[..., 0] < 128


def default_glyphs() -> frozenset[str]:
    return plotting._family_glyphs("sans-serif")


def test_plain_names_open_no_font(monkeypatch):
    monkeypatch.setattr(plotting, "_without_font", lambda characters: pytest.fail("a font was searched"))
    assert class_labels(["cat", "$5"]) == ["cat", r"\$5"]


def test_long_names_stay_different():
    names = [f"{'long_' * 20}{end}" for end in ("a", "b", "b")] + ["x" * 40 + str(k) + "y" * 40 for k in range(2)]
    shown = class_labels(names, 20)
    assert len(set(shown)) == 5 and max(map(display_width, shown)) <= 24
    assert shown[0].endswith("a") and shown[3].startswith("#3 xxx")
    assert display_width(label("苹" * 90, 20)) <= 20


def test_columns_of_wide_characters_align():
    table = text_table([["class", "images"], ["苹果", "12"], ["Äpfel", "3"], ["A\u0308", "100"]], right=(1,))
    assert {display_width(line) for line in table.splitlines()} == {13}
    assert table.splitlines()[1] == "苹果       12"
