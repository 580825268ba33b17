"""Fixtures of the workflow tests."""

import pytest

from tests.workflow.project import Project


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return a project whose toy experiment was built once: two methods, two scales, two seeds in one block."""
    project = Project(tmp_path_factory.mktemp("built") / "project").copy_workflow()
    project.snakemake()
    return project


@pytest.fixture
def project(tmp_path):
    """Return a fresh project."""
    return Project(tmp_path / "project").copy_workflow()
