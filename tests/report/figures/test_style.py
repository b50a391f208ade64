import re

from raysq.report.figures.style import Drawing, canvas, legend, looks, shades


def drawing():
    with canvas(3, 2) as (figure, (ax,)):
        ax.plot([1, 2], [3, 4], label="a line")
        ax.plot([1, 2], [4, 3], label="a line")
        legend(figure, ax)
    return Drawing("key", "caption", figure)


def test_algorithms_look_the_same_everywhere_and_differ_from_each_other():
    known = ["MLE", "continued MLE", "RAML", "VAML", "AC", "ERAC", "ERAC without future entropy", "REINFORCE"]
    known += ["REINFORCE with critic", "MIXER", "MRT", "SPG", "interpolation", "scheduled sampling"]
    known += ["data noising", "alpha-DiMT"]
    found = looks(known)
    assert len(set(found.values())) == 16
    assert looks(["ERAC"])["ERAC"] == found["ERAC"]


def test_others_take_colours_that_are_free():
    found = looks(["ERAC", "one", "RAML", "two", *(str(k) for k in range(8))])
    assert found["ERAC"].colour not in (found["one"].colour, found["two"].colour)
    assert found["RAML"].colour not in (found["one"].colour, found["two"].colour)
    assert len(set(found.values())) == len(found) == 12


def test_shades_grow_lighter():
    lightness = [int(c[1:3], 16) + 2 * int(c[3:5], 16) for c in shades(6)]
    assert lightness == sorted(lightness)
    assert len(shades(1)) == 1


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
