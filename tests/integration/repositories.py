"""Git repositories for tests: an identity of their own, and none of the user's settings."""

from __future__ import annotations

import subprocess
from pathlib import Path

_OWN = ["-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main"]


class Repository:
    """One with a first commit that has `files`."""

    def __init__(self, root: Path, **files: str) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q")
        self.commit("first", **(files or {"train.py": "print('first')\n"}))

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *_OWN, "-C", str(self.root), *words], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, **files: str) -> None:
        """`__` in a name stands for `/`, `_dot_` for `.`."""
        for name, text in files.items():
            path = self.root / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, message: str, **files: str) -> str:
        """Write files, commit everything, and the commit."""
        self.write(**files)
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.head()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD").strip()
