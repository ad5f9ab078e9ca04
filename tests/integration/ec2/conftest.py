"""A machine whose system commands are stubs, before the scripts ran and after."""

import pytest

from support.amazon_linux import Machine
from support.ec2_scripts import ALL_OF_VERSION_1, DEPLOY, SETUP


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "machine")


@pytest.fixture
def ready(machine):
    """A machine that is set up and logged into anew."""
    assert machine.run(SETUP).returncode == 0
    machine.log_in()
    return machine


@pytest.fixture
def live(ready):
    """One where version 1 of everything runs."""
    assert ready.run(DEPLOY).returncode == 0
    assert ready.running() == ALL_OF_VERSION_1
    return ready
