"""Tables as HTML pages."""

from html.parser import HTMLParser

import pandas as pd

from bayesgrid.reporting.html_tables import html
from bayesgrid.reporting.table import Cell, Section, Table

TABLE = Table(
    data=pd.DataFrame(),
    columns=("Agent", "NLL", "Remark"),
    sections=(
        Section("set <one>", ((Cell("a & b"), Cell("−1.0", best=True), Cell("x < y")),)),
        Section("set two", ((Cell("c"), Cell("2.0"), Cell("")),)),
    ),
    caption="A <caption>",
    notes=("one note",),
    footnotes=("one footnote",),
    wrapped=("Remark",),
)


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.cells, self.bold, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "br"}:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")
        assert tag not in {"script", "link", "img"}
        assert not [value for name, value in attributes if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.cells[-1] += data
            if "strong" in self.open:
                self.bold.append(data)
        else:
            self.text.append(data)


def test_every_cell_is_there_escaped_and_the_best_is_bold():
    reader = Reader()
    reader.feed(html(TABLE))
    assert reader.open == []
    assert reader.cells == ["a & b", "−1.0", "x < y", "c", "2.0", ""]
    assert reader.bold == ["−1.0"]
    for text in ("A <caption>", "set <one>", "set two", "one note", "[1] one footnote"):
        assert text in reader.text
