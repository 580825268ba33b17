"""What a change of configuration does to the plan: runs added, runs dropped, and which parameters they differ in."""

import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import flatten
from bayesgrid.grid.plan import Plan, PlannedRun

__all__ = ["compare_plans", "configuration_at"]


@contextmanager
def configuration_at(project: Path, revision: str) -> Iterator[Path]:
    """Yield a temporary folder with ``config/`` and ``Snakefile`` as they were at a git revision.

    Raises:
        ConfigurationError: if git does not know the revision, or it holds no configuration.
    """
    archive = subprocess.run(  # noqa: S603 (a git revision, no shell)
        ["git", "-C", str(project), "archive", revision, "config", "Snakefile"],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if archive.returncode != 0:
        raise ConfigurationError(
            f"git cannot read the configuration: {archive.stderr.decode(errors='replace').strip()}",
            where=str(project),
            given=revision,
            allowed="a commit, branch or tag that holds config/ and Snakefile",
        )
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        # Python knows filters from 3.11.4 on; the archive is git's own either way.
        files.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        files.extractall(folder)  # noqa: S202
        yield Path(folder)


def compare_plans(before: Plan, now: Plan) -> list[str]:
    """Return lines for a reader: a summary, each added run with the parameters that set it apart, each dropped one.

    An added run is explained against the dropped or kept run of the earlier plan that it differs from the least.
    """
    added = [run for name, run in now.runs.items() if name not in before.runs]
    dropped = [run for name, run in before.runs.items() if name not in now.runs]
    kept = len(now.runs) - len(added)
    lines = [f"+{len(added)} runs, -{len(dropped)} runs, {kept} unchanged"]
    for run in added:
        lines.append(f"+ {run.run_id}{_explanation(run, list(before.runs.values()))}")
    lines.extend(f"- {run.run_id}" for run in dropped)
    return lines


def _explanation(run: PlannedRun, candidates: list[PlannedRun]) -> str:
    own = _facts(run)
    nearest: dict[str, tuple[object, object]] | None = None
    for candidate in candidates:
        if candidate.study != run.study:
            continue
        other = _facts(candidate)
        changed = {key: (other.get(key), own.get(key)) for key in own | other if own.get(key) != other.get(key)}
        if nearest is None or len(changed) < len(nearest):
            nearest = changed
    if nearest is None:
        return ""
    return "  (" + ", ".join(f"{key}: {old} -> {new}" for key, (old, new) in sorted(nearest.items())) + ")"


def _facts(run: PlannedRun) -> dict[str, object]:
    facts: dict[str, object] = {**flatten(run.spec.model_dump(mode="json")), "revision": run.spec.revision}
    facts.update({f"data version of {name}": version for name, version in run.data_versions.items()})
    return facts
