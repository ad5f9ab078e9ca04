"""The READMEs say what the code does: settings, endpoints, modules, links, commands."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import telelink_churn.app
import telelink_clv.app
import telelink_gateway.settings
from support.builders import CHURN_MODELS, CLV_MODELS, ROOT
from telelink_churn.definition import CHURN
from telelink_clv.definition import CLV
from telelink_gateway.api_keys.guard import scope_needed
from telelink_shared.serving.definition import BASELINE_OUTPUT, REASONS_OUTPUT, VARIANT_OUTPUT
from telelink_shared.web.settings import PREFIX

FOLDERS = ("gateway", "churn-service", "clv-service", "shared", "frontend", "tests")
SETTINGS = {
    "gateway": telelink_gateway.settings.Settings,
    "churn-service": telelink_churn.app.Settings,
    "clv-service": telelink_clv.app.Settings,
}
GATEWAY_OPENAPI = ROOT / "tests" / "contract" / "openapi" / "gateway.json"
# A verb of the Makefile where a command stands, not the word within a sentence.
_MAKE = re.compile(r"(?:^|&& )(?:[A-Z_]+=\S+ )*make (?:[A-Z_]+=\S+ )*([a-z][a-z-]*)", re.MULTILINE)
# Made by installs, runs and tools.
_NOT_OURS = {"node_modules", "var", "test-artifacts", "__pycache__"}


def read(folder):
    return (ROOT / folder / "README.md").read_text(encoding="utf-8")


def every_readme():
    """All READMEs of the repository, by path."""
    folders = [ROOT]
    for folder in folders:
        folders += [
            each for each in folder.iterdir() if each.is_dir() and each.name[0] != "." and each.name not in _NOT_OURS
        ]
    return [path for folder in folders for path in sorted(folder.glob("README*.md"))]


def section(text, title):
    """What stands under a heading, up to the next one of its level."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"there is no section '{title}'"
    return match[1]


def table(text, first_heading):
    """The cells of the rows of the table whose first column has this heading."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f"| {first_heading} |"):
            next(lines)
            break
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    assert rows, f"there is no table that begins with '{first_heading}'"
    return rows


def code(text):
    """Everything set as code: blocks, then what stands within lines."""
    blocks = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return blocks.findall(text) + re.findall(r"`([^`\n]+)`", blocks.sub("", text))


def shown(default):
    """A default as the tables have it; folders from the repository's root on."""
    if default is None:
        return "unset"
    if isinstance(default, Path):
        default = default.relative_to(ROOT)
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def anchors(path):
    """Fragments of the file's headings, as they are made where Markdown is shown."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folders_readme_has_the_sections_that_one_looks_for(folder):
    text = read(folder)
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[-1] == "Decisions"
    assert "Settings" in headings
    assert any(heading.startswith(("Run", "Use")) for heading in headings)
    assert "Test it alone" in headings or folder == "tests"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_decision_has_context_decision_and_consequence_in_ten_lines(folder):
    decisions = re.split(r"^### ", section(read(folder), "Decisions"), flags=re.MULTILINE)[1:]
    assert decisions
    for decision in decisions:
        positions = [decision.find(f"{word}:") for word in ("Context", "Decision", "Consequence")]
        assert -1 not in positions, decision
        assert positions == sorted(positions), decision
        assert len(decision.strip().splitlines()) <= 10, decision


@pytest.mark.parametrize("folder", SETTINGS)
def test_the_settings_table_is_what_the_service_reads(folder):
    fields = SETTINGS[folder].model_fields
    wanted = [[f"`{PREFIX}{name.upper()}`", shown(field.default), field.description] for name, field in fields.items()]
    lines = "\n".join(f"| {' | '.join(map(str, row))} |" for row in wanted)
    assert table(section(read(folder), "Settings"), "name") == wanted, f"the table should be:\n{lines}"


@pytest.mark.parametrize("folder", SETTINGS)
def test_what_the_image_sets_is_said(folder):
    dockerfile = (ROOT / folder / "Dockerfile").read_text(encoding="utf-8")
    settings = set(re.findall(rf"\b({PREFIX}\w+=\S+)", dockerfile))
    assert settings
    assert settings == {each for each in code(section(read(folder), "Settings")) if "=" in each}


def test_the_frontends_settings_are_those_of_its_image():
    dockerfile = (ROOT / "frontend" / "Dockerfile").read_text(encoding="utf-8")
    rows = table(section(read("frontend"), "Settings"), "name")
    image = dict(re.findall(r"\b([A-Z_]+)=(\S+)", dockerfile))
    assert {code(name)[0]: code(default)[0] for name, default, _ in rows} == image


def test_the_gateways_table_of_endpoints_is_complete():
    paths = json.loads(GATEWAY_OPENAPI.read_text(encoding="utf-8"))["paths"]
    described = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    rows = table(section(read("gateway"), "Endpoints"), "endpoint")
    listed = {endpoint for row in rows for endpoint in code(row[0])}
    assert listed == described | {"GET /docs", "GET /redoc", "GET /openapi.json", "GET /metrics"}


def test_the_gateways_table_of_scopes_is_what_its_guard_asks_for():
    paths = json.loads(GATEWAY_OPENAPI.read_text(encoding="utf-8"))["paths"]
    closed = {path: scope_needed(path) for path in paths if scope_needed(path) is not None}
    rows = table(section(read("gateway"), "API keys"), "scope")
    told = {path: code(scope)[0] for scope, opens in rows for path in code(opens) if path != "/v1"}
    assert told == closed


def test_the_example_of_settings_names_all_that_the_compose_file_reads():
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    # Of use where several copies run on one machine.
    assert set(re.findall(r"^(?:# )?([A-Z_]+)=", example, re.MULTILINE)) == used - {"IMAGE_PREFIX"}
    # A copy of it changes nothing: not even an empty value is in force.
    in_force = dict(re.findall(r"^([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert in_force == {"HTTP_PORT": "80", "LOG_LEVEL": "info"}


def test_the_gateways_table_of_includes_is_complete():
    parameters = json.loads(GATEWAY_OPENAPI.read_text(encoding="utf-8"))["paths"]["/predict"]["post"]["parameters"]
    (description,) = (each["description"] for each in parameters if each["name"] == "include")
    rows = table(section(read("gateway"), "Endpoints"), "include")
    assert [code(row[0])[0] for row in rows] == description.rpartition(": ")[2].split(", ")


def test_the_shared_packages_table_names_every_module_and_size():
    package = ROOT / "shared" / "telelink_shared"
    text = read("shared")
    rows = table(section(text, "Modules"), "module")
    found = {path.stem for path in package.glob("[!_]*.py")}
    found |= {path.parent.name for path in package.glob("*/__init__.py")}
    assert {code(row[0])[0] for row in rows} == found
    for name, topic, _ in rows:
        folder = package / code(name)[0]
        if folder.is_dir():
            assert set(code(topic)) == {path.stem for path in folder.glob("[!_]*.py")}
    extras = tomllib.loads((ROOT / "shared" / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sizes = [code(row[0])[0] for row in table(text, "size")]
    assert sizes == ["telelink-shared", *(f"telelink-shared[{extra}]" for extra in extras)]


def test_the_shared_packages_table_is_in_the_order_of_the_import_rules():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if "telelink_shared.serving" in each.get("layers", ()))
    order = [code(row[0])[0] for row in table(section(read("shared"), "Modules"), "module")]
    ranks = [
        next(rank for rank, layer in enumerate(layers) if f"telelink_shared.{name}" in layer.split(" | "))
        for name in order
    ]
    assert ranks == sorted(ranks)


def test_the_table_of_test_levels_names_every_folder():
    folders = {f"{path.name}/" for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name not in _NOT_OURS}
    assert {code(row[0])[0] for row in table(read("tests"), "level")} == folders


@pytest.mark.parametrize(
    ("definition", "create_app", "settings"),
    [
        (CHURN, telelink_churn.app.create_app, telelink_churn.app.Settings(models_dir=CHURN_MODELS)),
        (CLV, telelink_clv.app.create_app, telelink_clv.app.Settings(models_dir=CLV_MODELS)),
    ],
    ids=["churn", "clv"],
)
def test_the_request_in_the_churn_services_readme_is_answered_by_both_services(definition, create_app, settings):
    (command,) = re.findall(r"^curl --json '.*?$(?=\n```)", read("churn-service"), re.MULTILINE | re.DOTALL)
    _, _, body, address = shlex.split(command)
    assert address == "http://127.0.0.1:8001/v2/models/churn/infer"
    with TestClient(create_app(settings)) as client:
        reply = client.post(f"/v2/models/{definition.name}/infer", content=body)
    assert reply.status_code == 200
    assert [tensor["name"] for tensor in reply.json()["outputs"]] == list(definition.standard_outputs)


def test_the_churn_services_readme_explains_every_output_that_waits_for_its_name():
    rows = table(read("churn-service"), "output")
    on_request = [output.name for output in CHURN.outputs if output.on_request]
    assert [name for row in rows for name in code(row[0])] == [
        *on_request,
        VARIANT_OUTPUT,
        REASONS_OUTPUT,
        BASELINE_OUTPUT,
    ]


def test_the_lifetime_value_services_readme_explains_every_output():
    rows = table(read("clv-service"), "output")
    assert [name for row in rows for name in code(row[0])] == [output.name for output in CLV.outputs]


@pytest.mark.parametrize("path", every_readme(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, fragment = target.partition("#")
        leads_to = (path.parent / file) if file else path
        assert leads_to.exists(), f"{target} leads nowhere"
        assert ROOT in leads_to.resolve().parents or leads_to.resolve() == ROOT, f"{target} leads out of the repository"
        if fragment:
            assert fragment in anchors(leads_to), f"{target}: there is no such heading"


@pytest.mark.parametrize("path", every_readme(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_verb_that_is_named_exists(path):
    verbs = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for piece in code(path.read_text(encoding="utf-8")):
        for verb in _MAKE.findall(piece):
            assert verb in verbs, f"make {verb} is in {path.relative_to(ROOT)}, but not in the Makefile"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_test_that_a_command_names_exists(folder):
    for piece in code(read(folder)):
        for name in re.findall(r"\btests/[\w./*-]+", piece):
            assert list(ROOT.glob(name)), f"{name} is in {folder}/README.md, but not in the repository"
