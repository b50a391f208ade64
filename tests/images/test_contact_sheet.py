import base64
import io
import re
from html.parser import HTMLParser

from PIL import Image

from raysq.images.contact_sheet import Entry, contact_sheet, embedded

STRANGE = "<script>alert('1')</script> & \"quoted\""


class Reader(HTMLParser):
    """Tags with their attributes, and the texts outside the style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] != "style":
            self.texts.append(data)


def test_every_text_is_escaped_and_in_its_place() -> None:
    entry = Entry(f"{STRANGE}.png", "data:,", STRANGE, -2.5, (STRANGE, "a red square"))
    text = contact_sheet(STRANGE, [STRANGE, "beam"], {STRANGE: 12.345, "CIDEr": 100.0}, [entry])
    reader = Reader(text)
    assert "script" not in {tag for tag, _ in reader.tags}
    (image,) = (attributes for tag, attributes in reader.tags if tag == "img")
    assert image == {"src": "data:,", "alt": STRANGE}
    assert [t for t in reader.texts if t.strip()] == [
        STRANGE,  # of the window
        STRANGE,
        f"{STRANGE} · beam",
        STRANGE,
        "12.3",
        "CIDEr",
        "100.0",
        STRANGE,
        f"{STRANGE}.png",
        "log p = −2.50",
        STRANGE,
        "a red square",
    ]


def test_it_needs_nothing_else_and_lists_only_what_there_is() -> None:
    picture = embedded(Image.new("RGB", (8, 8)))
    text = contact_sheet("t", [], {}, [Entry("a.png", picture, "one", -1.0, ())] * 2)
    assert re.findall(r"https?:|url\(|@import|<link|<script", text) == []
    assert text.count(picture) == 2
    assert "<li>" not in text


def test_pictures_are_made_small_in_shape_and_stay_what_they_show() -> None:
    large = Image.new("RGB", (1024, 512), (250, 0, 0))
    large.paste((0, 0, 250), (512, 0, 1024, 512))
    kind, _, data = embedded(large).partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as small:
        assert small.size == (256, 128)
        for x, expected in ((40, (250, 0, 0)), (200, (0, 0, 250))):
            assert max(abs(a - b) for a, b in zip(small.getpixel((x, 64)), expected, strict=True)) < 6
    assert large.size == (1024, 512)
