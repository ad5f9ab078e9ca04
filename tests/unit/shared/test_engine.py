"""What running a model does to the world around it: nothing."""

import subprocess
import sys

from support.builders import toy_graph
from support.servers import clean_environ

SCORE = """
import sys
import numpy as np
from telelink_shared.serving.engine import OnnxEngine
print(OnnxEngine(sys.stdin.buffer.read(), ["only"]).score("only", np.array([[3.0]])).item())
"""


def test_running_a_model_writes_nothing_for_its_makers_telemetry(tmp_path):
    # Continuous integration would switch it off by itself.
    environ = {name: value for name, value in clean_environ().items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    home = environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", SCORE], input=toy_graph(), env=home, capture_output=True, timeout=60)
    assert float(done.stdout) == 0.1 * 3
    assert list(tmp_path.iterdir()) == []
