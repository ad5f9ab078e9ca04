"""The notebook, in a kernel of its own, on a few made-up customers."""

import nbformat
import pytest
from nbclient import NotebookClient

from support.builders import ROOT
from support.small_models import small_configs

NOTEBOOKS = sorted((ROOT / "training" / "notebook").glob("*.ipynb"))


def read(path):
    return nbformat.read(path, as_version=4)


def test_there_is_a_notebook():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path):
    """They would be figures of some day's code, and may hold rows of a data set that is not ours to give."""
    for cell in read(path).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last(path, tmp_path):
    notebook = read(path)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    settings = small_configs(tmp_path)
    parameters.source = f"SOURCE, CUSTOMERS, SETTINGS = 'synthetic', 300, {str(settings)!r}"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [output for cell in code for output in cell.outputs]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum("image/svg+xml" in output.get("data", {}) for output in shown) == 4
    assert any("300 customers" in output.get("text", "") for output in shown)
