"""Writing a table as Parquet, CSV, Markdown and LaTeX: atomically, the same bytes for the same table."""

from pathlib import Path

from bayesgrid.reporting.table import Cell, Section, Table
from bayesgrid.store.atomic import atomic_write, write_text

__all__ = ["latex", "markdown", "write_table"]

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "·": r"$\cdot$",
        "—": "---",
        "–": "--",
        "†": r"$^\dagger$",
        "‡": r"$^\ddagger$",
        "≤": r"$\le$",
        "≥": r"$\ge$",
        "∞": r"$\infty$",
        "<": r"$<$",
        ">": r"$>$",
        "Δ": r"$\Delta$",
        "ρ": r"$\rho$",
        "τ": r"$\tau$",
        "\N{MINUS SIGN}": "$-$",
        "\n": " ",
    }
)
_WIDE_TABLE_COLUMNS = 6
_LONG_TABLE_ROWS = 45


def write_table(table: Table, stem: Path) -> list[Path]:
    """Write ``table`` beside ``stem`` with the suffixes .parquet, .csv, .md and .tex and return the four paths.

    Each file is replaced as a whole. The Parquet and CSV files hold the numbers in full, the others what is shown.

    Raises:
        OSError: whatever the file system says; files already there are left as they were.
    """
    paths = [stem.with_name(stem.name + suffix) for suffix in (".parquet", ".csv", ".md", ".tex")]
    with atomic_write(paths[0]) as temporary:
        table.data.to_parquet(temporary, index=False)
    with atomic_write(paths[1]) as temporary:
        table.data.to_csv(temporary, index=False, lineterminator="\n")
    write_text(paths[2], markdown(table))
    write_text(paths[3], latex(table, label=stem.name))
    return paths


def markdown(table: Table) -> str:
    """Return ``table`` as GitHub-flavoured Markdown, one aligned table a section, notes below the caption."""
    lines = [f"**{_markdown_text(table.caption)}**", ""]
    for note in table.notes:
        lines += [_markdown_text(note), ""]
    for section in table.sections:
        if section.heading:
            lines += [f"### {_markdown_text(section.heading)}", ""]
        lines += [*_markdown_rows(table.columns, section), ""]
    lines += [f"[{number}] {_markdown_text(text)}\n" for number, text in enumerate(table.footnotes, start=1)]
    return "\n".join(lines).rstrip("\n") + "\n"


def latex(table: Table, *, label: str) -> str:
    """Return ``table`` as LaTeX for the packages booktabs and, for long tables, longtable; notes stand below it."""
    rows = sum(len(section.rows) for section in table.sections)
    count = len(table.columns)
    alignment = "".join(_alignment(table, column) for column in range(count))
    size = r"\scriptsize" if count > _WIDE_TABLE_COLUMNS else r"\footnotesize"
    caption = rf"\caption{{{_latex_text(table.caption)}.}}\label{{tab:{label}}}"
    below = [*table.notes, *(f"[{number}] {text}" for number, text in enumerate(table.footnotes, start=1))]
    notes = [rf"\par\smallskip{{\footnotesize\raggedright\noindent {_latex_text(text)}\par}}" for text in below]
    head = [r"\toprule", " & ".join(rf"\textbf{{{_latex_text(name)}}}" for name in table.columns) + r" \\"]
    body: list[str] = []
    for section in table.sections:
        body.append(r"\midrule")
        if section.heading:
            body.append(rf"\multicolumn{{{count}}}{{l}}{{\textit{{{_latex_text(section.heading)}}}}} \\")
        body += [" & ".join(map(_latex_cell, row)) + r" \\" for row in section.rows]
    if rows > _LONG_TABLE_ROWS:
        lines = [
            rf"{{{size}\setlength{{\tabcolsep}}{{3pt}}",
            rf"\begin{{longtable}}{{{alignment}}}",
            caption + r" \\",
            *head,
            r"\endfirsthead",
            *head,
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *body,
            r"\end{longtable}",
            *notes,
            "}",
        ]
    else:
        lines = [
            r"\begin{table*}[tb]",
            r"\centering",
            caption,
            size,
            r"\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{{alignment}}}",
            *head,
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *notes,
            r"\end{table*}",
        ]
    return "% Needs \\usepackage{booktabs,longtable}.\n" + "\n".join(lines) + "\n"


def _markdown_rows(columns: tuple[str, ...], section: Section) -> list[str]:
    cells = [[_markdown_cell(cell) for cell in row] for row in section.rows]
    heads = [_markdown_text(name) for name in columns]
    widths = [max(len(head), 3, *(len(row[i]) for row in cells)) for i, head in enumerate(heads)]
    lines = [" | ".join(head.ljust(width) for head, width in zip(heads, widths, strict=True))]
    lines.append(" | ".join("-" * width for width in widths))
    lines += [" | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
    return [f"| {line} |" for line in lines]


def _markdown_cell(cell: Cell) -> str:
    text = _markdown_text(cell.text)
    return f"**{text}**" if cell.best and text else text


def _markdown_text(text: str) -> str:
    for character in "\\|*`<":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")


def _latex_cell(cell: Cell) -> str:
    text = _latex_text(cell.text)
    return rf"\textbf{{{text}}}" if cell.best and text else text


def _latex_text(text: str) -> str:
    return text.translate(_LATEX)


def _alignment(table: Table, column: int) -> str:
    if table.columns[column] in table.wrapped:
        return rf"p{{{0.76 / len(table.wrapped):.2f}\linewidth}}"
    texts = [row[column].text for section in table.sections for row in section.rows]
    numbers = sum(text.lstrip("\N{MINUS SIGN}")[:1].isdigit() for text in texts)
    return "r" if 2 * numbers > sum(text != "" for text in texts) else "l"
