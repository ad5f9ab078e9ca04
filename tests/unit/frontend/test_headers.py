"""The page knows the same spellings of headers as the API."""

import json
import shutil
import subprocess

import pytest
from pydantic.alias_generators import to_camel

from support.builders import ROOT
from telelink_shared.customer import COLUMNS
from telelink_shared.headers import _OTHER_NAMES, canonical_name

SPELLINGS = [
    *(header for header, column in _OTHER_NAMES.items() if column in COLUMNS),
    *(spell(column) for column in COLUMNS for spell in (str, str.upper, str.title, to_camel)),
    *(column.replace("_", separator) for column in COLUMNS for separator in (" ", "-", ". ", "__")),
    " Account Length ",
    "Number vmail messages",
    "customerID",
]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: apt-get install nodejs")
def test_every_known_spelling_is_the_same_field_in_the_page():
    script = (
        "import { fieldOf } from './js/headers.js';"
        "console.log(JSON.stringify(JSON.parse(process.argv[1]).map(fieldOf)))"
    )
    command = ["node", "--input-type=module", "-e", script, json.dumps(SPELLINGS)]
    found = subprocess.run(command, cwd=ROOT / "frontend" / "site", capture_output=True, text=True, check=True).stdout
    assert json.loads(found) == [to_camel(canonical_name(each)) for each in SPELLINGS]
