"""The README's examples, as they are written and as the running system answers them; its table of measured figures."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from support.builders import CHURN_MODELS, CLV_MODELS, ROOT
from telelink_gateway.claims import CLAIMED
from telelink_shared import artifact

README = ROOT / "README.md"
ADDRESS = "http://localhost:8000"
# A command, and the reply that the README shows for it.
_EXAMPLE = re.compile(r"```sh\n(curl [^`]*)```\n\n```json\n([^`]*)```")
_TABLE = re.compile(r"(<!-- claimed-and-measured[^>]*-->\n).*?(?=\n\nAccuracy, precision)", re.DOTALL)

_NAMES = {"f1": "F1", "r2": "R²", "mae_usd": "mean absolute error", "rmse_usd": "root mean squared error"}


def examples(text: str) -> list[tuple[str, str]]:
    """Each command of the README that has a reply under it, and that reply."""
    return _EXAMPLE.findall(text)


def commands(path: Path, heading: str) -> list[str]:
    """The blocks of shell commands between a heading of a README and the next one."""
    (section,) = re.findall(rf"^#+ {heading}\n(.*?)(?=^#+ )", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def reply(command: str, url: str) -> Any:
    """What the system at `url` answers to an example's command, run by a shell as a reader would run it."""
    script = command.replace(ADDRESS, url).replace("curl ", "curl --silent --show-error --noproxy '*' ", 1)
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True, timeout=30)
    answer = json.loads(done.stdout)
    # The one member that is another one each time.
    if isinstance(answer, dict) and "request_id" in answer:
        answer["request_id"] = "…"
    return answer


def laid_out(answer: Any) -> str:
    """JSON as the README shows it."""
    return json.dumps(answer, indent=1, ensure_ascii=False)


def _figure(metric: str, value: float, *, digits: int = 3) -> str:
    if metric.endswith("_usd"):
        return f"${value:,.0f}"
    return f"{value:.{digits}f}" if metric == "r2" else f"{100 * value:.1f} %"


def claimed_and_measured() -> str:
    """The table, from the manifests of the bundled versions."""
    lines = ["| | claimed | with minutes of use | the eleven fields alone |", "| --- | --- | --- | --- |"]
    for name, models_dir in (("churn", CHURN_MODELS), ("clv", CLV_MODELS)):
        manifest = artifact.read_manifest(models_dir / name / artifact.served_version(models_dir, name))
        variants = manifest.metrics["variants"]
        for metric, claimed in CLAIMED[name].items():
            title = f"{'churn' if name == 'churn' else 'lifetime value'}: {_NAMES.get(metric, metric)}"
            measured = " | ".join(_figure(metric, variants[variant][metric]) for variant in ("usage", "eleven"))
            lines.append(f"| {title} | {_figure(metric, claimed, digits=2)} | {measured} |")
    return "\n".join(lines)


def with_replies(text: str, url: str) -> str:
    """The README with the replies and the figures of today."""
    text = _EXAMPLE.sub(
        lambda match: f"```sh\n{match[1]}```\n\n```json\n{laid_out(reply(match[1], url))}\n```",
        text,
    )
    return _TABLE.sub(lambda match: f"{match[1]}\n{claimed_and_measured()}", text)
