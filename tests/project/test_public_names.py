"""The names that a user sees on `rxws.`."""

from __future__ import annotations

import json
import subprocess
import sys

import rxws
from support import ROOT

SCRIPT = """
import json, sys
import rxws
alone = dir(rxws)
import rxws.testing, rxws.viz
json.dump([alone, dir(rxws)], sys.stdout)
"""


def test_dir_lists_the_public_names_only() -> None:
    """`dir(rxws)` is `__all__` and the version; `testing` and `viz` join when imported."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    alone, with_extras = json.loads(done.stdout)
    assert alone == sorted([*rxws.__all__, "__version__"])
    assert with_extras == sorted([*rxws.__all__, "__version__", "testing", "viz"])


def test_every_public_name_exists() -> None:
    """Each name of `__all__` can be imported, and is listed once."""
    assert all(hasattr(rxws, name) for name in rxws.__all__)
    assert len(set(rxws.__all__)) == len(rxws.__all__)
