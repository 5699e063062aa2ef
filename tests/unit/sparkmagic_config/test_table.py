"""The table under a cell."""

from html.parser import HTMLParser

from sparkyard_sparkmagic.table import LONGEST_CELL, MOST_COLUMNS, MOST_ROWS, Column, Table


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)


def test_everything_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    html = Table((Column(evil, "string"),), [[evil], [{"k": evil}]]).html()
    assert evil not in html
    assert Tags(html).seen.count("script") == 1  # our own


def test_headings_and_caption_for_those_who_listen() -> None:
    html = Table((Column("n", "long"), Column("t", "string")), [[1, None]]).html()
    assert '<th scope="col" data-type="n"' in html
    assert '<th scope="col" data-type="t"' in html
    assert ">1 row</p>" in html
    assert 'role="status"' in html
    assert '<td data-null="1"><i>null</i></td>' in html


def test_what_is_not_shown_is_said() -> None:
    columns = tuple(Column(f"c{at}", "long") for at in range(MOST_COLUMNS + 1))
    table = Table(columns, [[1] * len(columns)] * (MOST_ROWS + 1), "there are more")
    assert table.caption == "501 rows; the first 500 are shown; 60 of 61 columns are shown; there are more"
    tags = Tags(table.html()).seen
    assert tags.count("th") == MOST_COLUMNS
    assert tags.count("tr") == MOST_ROWS + 1
    long = Table((Column("t", "string"),), [["x" * (LONGEST_CELL + 10)]]).html()
    assert "10 characters more" in long


def test_text_for_consoles() -> None:
    text = Table((Column("name", "string"), Column("n", "long")), [["ada", 1], [None, 22]]).text()
    assert text == "name  n\nada   1\nnull  22\n(2 rows)"
