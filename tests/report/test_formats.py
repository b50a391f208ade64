from raysq.report.formats import Cell, Column, Table, csv_text, html_table, latex, markdown, write_table

TABLE = Table(
    "results",
    "Gain & loss, 95 %",
    [Column("a|b"), Column("n"), Column("theirs <1>", theirs=True)],
    [
        [Cell("x_1"), Cell.number(1234.5678), Cell("27.01 ± 0.20†")],
        [Cell("<unk>"), Cell.number(None), Cell("–", "")],
    ],
    ["† not counted: 1 < 2"],
)


def test_markdown():
    assert markdown(TABLE) == (
        "**Gain & loss, 95 %**\n"
        "\n"
        "| a\\|b | n | theirs &lt;1> |\n"
        "| --- | ---: | ---: |\n"
        "| x_1 | 1,234.57 | *27.01 ± 0.20†* |\n"
        "| &lt;unk> | – | – |\n"
        "\n"
        "† not counted: 1 &lt; 2\n"
    )


def test_csv_has_numbers_in_full_and_nothing_where_there_is_none():
    assert csv_text(TABLE) == "a|b,n,theirs <1>\nx_1,1234.5678,27.01 ± 0.20†\n<unk>,,\n"


def test_latex_escapes_what_tex_reads():
    text = latex(TABLE)
    assert r"\caption{Gain \& loss, 95 \%}" in text
    assert r"x\_1 & 1,234.57 & \textit{27.01 $\pm$ 0.20$\dagger$} \\" in text
    assert r"$<$unk$>$ & -- & -- \\" in text
    assert r"\begin{tabular}{lrr}" in text


def test_html_escapes_and_marks_what_is_theirs():
    text = html_table(TABLE)
    assert "<caption>Gain &amp; loss, 95 %</caption>" in text
    assert '<td>x_1</td><td>1,234.57</td><td class="theirs">27.01 ± 0.20†</td>' in text
    assert "<td>&lt;unk&gt;</td>" in text
    assert '<p class="note">† not counted: 1 &lt; 2</p>' in text


def test_a_number_is_never_minus_zero():
    assert Cell.number(-0.004) == Cell("0.00", -0.004)
    assert Cell.number(-0.006).text == "-0.01"


def test_three_files(tmp_path):
    write_table(tmp_path / "space", TABLE)
    assert (tmp_path / "space" / "results.md").read_text() == markdown(TABLE)
    assert (tmp_path / "space" / "results.csv").read_text() == csv_text(TABLE)
    assert (tmp_path / "space" / "results.tex").read_text() == latex(TABLE)
