"""A table as one self-contained HTML page, for Snakemake's report."""

from html import escape

from bayesgrid.reporting.table import Cell, Table

__all__ = ["html"]

_STYLE = """
body { font: 13px/1.45 system-ui, sans-serif; margin: 2rem; color: #1b1b1b; background: #fff; }
h1 { font-size: 1.15rem; margin: 0 0 .5rem; }
h2 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
p { margin: .2rem 0; max-width: 60rem; color: #444; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .55rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
th, td { white-space: nowrap; }
.text { text-align: left; white-space: normal; max-width: 26rem; }
div { overflow-x: auto; }
thead th { border-top: 2px solid #1b1b1b; border-bottom: 1px solid #1b1b1b; }
tbody tr:last-child td { border-bottom: 2px solid #1b1b1b; }
tbody tr:nth-child(even) { background: #f5f5f5; }
"""


def html(table: Table) -> str:
    """Return ``table`` as an HTML page without scripts or outside resources; the best cells are bold."""
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(table.caption)}</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(table.caption)}</h1>",
        *(f"<p>{escape(note)}</p>" for note in table.notes),
    ]
    kinds = [' class="text"' if column in table.wrapped else "" for column in table.columns]
    header = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, table.columns, strict=True))
    for section in table.sections:
        if section.heading:
            parts.append(f"<h2>{escape(section.heading)}</h2>")
        parts.append(f"<div><table><thead><tr>{header}</tr></thead><tbody>")
        parts.extend(_row(row, kinds) for row in section.rows)
        parts.append("</tbody></table></div>")
    parts.extend(f"<p>[{number}] {escape(text)}</p>" for number, text in enumerate(table.footnotes, start=1))
    return "\n".join([*parts, "</body></html>", ""])


def _row(cells: tuple[Cell, ...], kinds: list[str]) -> str:
    shown = (f"<strong>{_text(cell)}</strong>" if cell.best else _text(cell) for cell in cells)
    return "<tr>" + "".join(f"<td{kind}>{text}</td>" for kind, text in zip(kinds, shown, strict=True)) + "</tr>"


def _text(cell: Cell) -> str:
    return escape(cell.text).replace("\n", "<br>")
