"""rxws as it was at another commit."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

from benchmarks.harness.cases import ROOT


class NoSuchCommit(Exception):
    """Git does not give what was asked for."""


@contextlib.contextmanager
def checked_out(ref: str) -> Generator[Path]:
    """A directory in which rxws of that commit is found, and nothing else.

    The work tree goes away again. A run that is killed leaves one below the temporary directory,
    which `git worktree prune` forgets once it is deleted.
    """
    commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    with tempfile.TemporaryDirectory(prefix="rxws-bench-") as made:
        tree, library = Path(made) / "tree", Path(made) / "library"
        git("worktree", "add", "--detach", "--quiet", str(tree), commit)
        try:
            library.mkdir()
            # The rest of the tree stays out of the way: the peers are those of the present.
            (library / "rxws").symlink_to(tree / "rxws")
            if not (tree / "rxws" / "__init__.py").exists():
                raise NoSuchCommit(f"there is no rxws at {ref}")
            yield library
        finally:
            git("worktree", "remove", "--force", str(tree))


def git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        why = done.stderr.strip() or "no such commit"
        raise NoSuchCommit(f"git {' '.join(arguments)}: {why}")
    return done.stdout.strip()
