"""The numbered lines below a table about answers: what models and data sets are, and which fits are not healthy."""

from collections.abc import Sequence

from bayesgrid.reporting.answer_estimates import Entry
from bayesgrid.reporting.answer_health import finding_sentence
from bayesgrid.reporting.answer_names import evaluation_heading
from bayesgrid.reporting.answer_runs import AnswerCell, MethodRuns

__all__ = ["AnswerFootnotes"]


class AnswerFootnotes:
    """Collects the lines while a table is made, and hands out the marks ``[1]``, ``[2]``, ... that refer to them.

    What is said of several data sets, or holds for several methods in the same words, is one line.
    """

    def __init__(self) -> None:
        self._subjects: dict[str, list[str]] = {}

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the lines in the order of their numbers."""
        return tuple(f"{'; '.join(names)}: {text}" if names else text for text, names in self._subjects.items())

    def heading(self, cell: AnswerCell, *more: str, also: Sequence[str] = ()) -> str:
        """Return the printed name of ``cell`` with marks at its model and data sets, and ``more`` behind it.

        Args:
            cell: of the section.
            more: further parts; empty ones are left out.
            also: names of further data sets that the section shows.
        """
        model = cell.label("model", cell.model) + self._source(cell, "model", cell.model)
        marks = dict.fromkeys(self._source(cell, "dataset", name) for name in (cell.dataset, *also))
        dataset = cell.label("dataset", cell.dataset) + "".join(marks)
        evaluation = "" if cell.evaluation == cell.dataset else self.dataset(cell, cell.evaluation)
        return " · ".join(part for part in (evaluation_heading(model, dataset, evaluation), *more) if part)

    def dataset(self, cell: AnswerCell, name: str) -> str:
        """Return the printed name of a data set of ``cell`` with its mark."""
        return cell.label("dataset", name) + self._source(cell, "dataset", name)

    def entry(self, entry: Entry, *, temperature: bool | None = None) -> str:
        """Return the printed name of a row with a mark for everything that is wrong with its fits.

        Args:
            entry: the row.
            temperature: whether the row shows what depends on the fitted temperature; by default if it is scaled.
        """
        scaled = entry.temperature if temperature is None else temperature
        return self.marked(entry.label, entry.row, temperature=scaled)

    def marked(self, printed: str, row: MethodRuns, *, temperature: bool = False, where: str = "") -> str:
        """Return ``printed`` with a mark for everything that is wrong with the fits of ``row``.

        Where its temperature counts, few held-out labels are marked too.

        Args:
            printed: name of the row.
            row: its runs.
            temperature: whether its temperature counts.
            where: what else tells the fits from others of the same row, such as their training set.
        """
        marks = ""
        findings = row.findings(temperature=temperature)
        sentences = [finding_sentence(kind, seeds, len(row.seeds)) for kind, seeds in findings.items()]
        sentences += [row.few_labels] if temperature and row.few_labels else []
        for sentence in sentences:
            mark = self._mark(f"{sentence}{f', on {where}' if where else ''}.")
            marks += mark if mark not in printed else ""
        return printed + marks

    def _source(self, cell: AnswerCell, kind: str, name: str) -> str:
        text = cell.sources.get((kind, name))
        return self._mark(text.note, text.label) if text and text.note else ""

    def _mark(self, text: str, subject: str = "") -> str:
        names = self._subjects.setdefault(text, [])
        if subject and subject not in names:
            names.append(subject)
        return f" [{list(self._subjects).index(text) + 1}]"
