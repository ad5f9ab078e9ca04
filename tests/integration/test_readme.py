"""What the README shows is what the system does."""

import json
import shutil

import pytest

from support.readme import README, claimed_and_measured, examples, reply
from support.servers import system

EXAMPLES = examples(README.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with system(tmp_path_factory.mktemp("readme")) as running:
        yield running.url


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: apt-get install curl")
@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=[shown[:40].replace("\n", " ") for _, shown in EXAMPLES])
def test_each_command_gives_the_reply_under_it(url, command, shown):
    assert reply(command, url) == json.loads(shown)


def test_the_measured_figures_are_those_of_the_bundled_models():
    assert claimed_and_measured() in README.read_text(encoding="utf-8")
