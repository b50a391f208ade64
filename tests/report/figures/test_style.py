import re

import pytest
from matplotlib.colors import to_rgb

from raysq.report.figures.style import SERIES, VARIABLES, Drawing, canvas, legend, looks, looks_of, shades
from raysq.report.groups import Group
from raysq.report.page import page

KNOWN = ["MLE", "continued MLE", "RAML", "VAML", "AC", "ERAC", "ERAC without future entropy", "REINFORCE"]
KNOWN += ["REINFORCE with critic", "MIXER", "MRT", "SPG", "interpolation", "scheduled sampling"]
KNOWN += ["data noising", "alpha-DiMT"]


def drawing():
    with canvas(3, 2) as (figure, (ax,)):
        ax.plot([1, 2], [3, 4], label="a line")
        ax.plot([1, 2], [4, 3], label="a line")
        legend(figure)
    return Drawing("key", "caption", figure)


def test_algorithms_look_the_same_everywhere_and_differ_from_each_other():
    found = looks(KNOWN)
    assert len(set(found.values())) == 16
    assert looks(["ERAC"])["ERAC"] == found["ERAC"]


def test_others_take_colours_that_are_free():
    found = looks(["ERAC", "one", "RAML", "two", *(str(k) for k in range(8))])
    assert found["ERAC"].colour not in (found["one"].colour, found["two"].colour)
    assert found["RAML"].colour not in (found["one"].colour, found["two"].colour)
    assert len(set(found.values())) == len(found) == 12
    everyone = looks([*KNOWN, *(str(k) for k in range(24))])
    assert len(set(everyone.values())) == 40


def test_shades_grow_lighter():
    lightness = [int(c[1:3], 16) + 2 * int(c[3:5], 16) for c in shades(6)]
    assert lightness == sorted(lightness)
    assert len(shades(1)) == 1


def test_a_value_has_one_shade_and_an_arm_one_line_and_marker():
    """As numbers: 0.010 is 0.01, and 2 comes before 10."""
    values = {"a": ("10", "2", "0.01"), "b": ("0.010", "2", "10")}
    groups = [Group("MLE", {}, []), *(Group(arm, {"x": v}, []) for arm in values for v in values[arm])]
    found = looks_of(groups)
    assert found["MLE"] == looks(["MLE"])["MLE"]
    assert found["a, x 2"].colour == found["b, x 2"].colour
    assert [found[f"a, x {v}"].colour for v in ("0.01", "2", "10")] == shades(3)
    assert found["b, x 0.010"].colour == shades(3)[0]
    styles = {
        arm: {(look.line, look.marker) for label, look in found.items() if label[0] == arm} for arm in "Mab"
    }
    assert [len(of_arm) for of_arm in styles.values()] == [1, 1, 1]
    assert len(set.union(*styles.values())) == 3


def luminance(colour):
    """Relative luminance of WCAG 2."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)


def test_lines_stand_out_from_white_and_from_the_dark_page():
    """What the page does not turn with itself must be seen on both of its papers."""
    papers = re.findall(r"--paper: (#\w+)", page("", "", [], []))
    assert papers == ["#ffffff", "#15181c"]
    drawn = {look.colour for look in looks(KNOWN).values()} - set(VARIABLES) | set(SERIES)
    drawn |= {shade for count in range(1, 13) for shade in shades(count)}
    faint = {(c, paper) for c in drawn for paper in papers if contrast(c, paper) < 2.5}
    assert faint == set()


def test_a_legend_has_as_many_columns_as_fit_and_the_figure_grows_by_it():
    def made(words):
        with canvas(5, 2) as (figure, (ax,)):
            for k in range(8):
                ax.plot([1, 2], [k, k], label=f"{words} {k}")
            legend(figure)
        figure.draw_without_rendering()
        return figure, figure.legends[0].get_window_extent()

    for words, columns in (("a", 6), ("twenty letters or so", 2), ("many words " * 8, 1)):
        figure, box = made(words)
        assert figure.legends[0]._ncols == columns
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.get_figheight() == pytest.approx(2 + box.height / figure.dpi)


def test_each_label_stands_once_in_a_legend():
    (found,) = drawing().figure.legends
    assert [text.get_text() for text in found.get_texts()] == ["a line"]


def test_svg_is_the_same_every_time_and_names_nothing_in_the_network():
    assert drawing().svg == drawing().svg
    names = set(re.findall(r'https?://[^"<]+', drawing().svg))
    assert names <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"} | {
        name
        for name in names
        if name.endswith(".dtd")  # of the head, which a page leaves out
    }


def test_two_files(tmp_path):
    made = drawing()
    made.write(tmp_path / "space")
    assert (tmp_path / "space" / "key.svg").read_text() == made.svg
    assert (tmp_path / "space" / "key.png").read_bytes().startswith(b"\x89PNG")
