"""Check out rxws from another commit, to compare it with the current one."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

from benchmarks.harness.cases import ROOT


class CheckoutError(Exception):
    """Git cannot check out the commit."""


@contextlib.contextmanager
def rxws_at(ref: str) -> Generator[Path]:
    """Yield a directory that contains the package rxws of that commit, and nothing else.

    The work tree is removed at the end. A run that is killed leaves it in the temporary directory;
    delete it and run `git worktree prune`.
    """
    commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    with tempfile.TemporaryDirectory(prefix="rxws-bench-") as folder:
        tree, library = Path(folder) / "tree", Path(folder) / "library"
        git("worktree", "add", "--detach", "--quiet", str(tree), commit)
        try:
            library.mkdir()
            # Only rxws is from that commit; the peers are the current ones.
            (library / "rxws").symlink_to(tree / "rxws")
            if not (tree / "rxws" / "__init__.py").exists():
                raise CheckoutError(f"there is no rxws at {ref}")
            yield library
        finally:
            git("worktree", "remove", "--force", str(tree))


def git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        why = done.stderr.strip() or "no such commit"
        raise CheckoutError(f"git {' '.join(arguments)}: {why}")
    return done.stdout.strip()
