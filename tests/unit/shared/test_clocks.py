"""The wall clock says when something was, and nothing waits by it: it may be set while the services run."""

import ast

import pytest

from support.builders import ROOT

SHIPPED = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("shared", "gateway", "churn-service", "clv-service", "deploy")
    for path in (ROOT / folder).rglob("*.py")
)
WALL_CLOCK = {
    *("time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
}
# Where a date is written down.
DATED = ("gateway/telelink_gateway/history/", "gateway/telelink_gateway/routes/portfolio.py")
DATED += ("gateway/telelink_gateway/api_keys/keys.py", "gateway/telelink_gateway/wall_clock.py")
# Also the lease of a job, which another machine must understand: set forward, it is taken over, and by one alone.
DATED += ("gateway/telelink_gateway/jobs/", "gateway/telelink_gateway/upstream/status.py")
DATED += ("shared/telelink_shared/web/logging.py",)


def uses_of_the_wall_clock(source):
    """Lines that name it, called or handed on, however it was imported."""
    uses = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            names = {".".join(ast.unparse(node).split(".")[-2:])}
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            names = {f"time.{alias.name}" for alias in node.names}
        else:
            continue
        if names & WALL_CLOCK:
            uses.append(node.lineno)
    return uses


@pytest.mark.parametrize(
    "source",
    [
        "import time\nwait(until=time.time() + 2)",
        "import time\nclock = time.time_ns",
        "from time import time",
        "from datetime import datetime\nuntil = datetime.now(UTC)",
        "import datetime\nuntil = datetime.datetime.now()",
    ],
)
def test_every_way_to_the_wall_clock_is_seen(source):
    assert uses_of_the_wall_clock(source)


def test_it_is_read_only_where_a_date_is_written_down():
    assert "shared/telelink_shared/web/server.py" in SHIPPED
    found = {path: uses_of_the_wall_clock((ROOT / path).read_text()) for path in SHIPPED}
    assert {path: lines for path, lines in found.items() if lines and not path.startswith(DATED)} == {}
