"""Builds the wheel of scribe-raft, and prints its path; nothing where there is no cargo.

A build takes two minutes, so what was compiled is kept outside of the checkout: crates for the next build, and each
wheel under a digest of all it was made from, so that another checkout of the same sources builds nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scribe-ledger"
NAMED = ("Cargo.toml", "Cargo.lock", "README.md", "pyproject.toml", "scribe_raft.pyi")
WHEELS_MAX = 8
NO_CARGO = (
    "no Rust toolchain (cargo 1.85 or later) was found: the consensus engine, raft/, is not installed."
    " A node that stands alone works without it; clusters do not, and their tests fail"
)


def digest() -> str:
    """Of all that a wheel is made from."""
    whole = hashlib.sha256(sysconfig.get_platform().encode())
    for path in [*(HERE / name for name in NAMED), *sorted((HERE / "src").rglob("*.rs"))]:
        content = path.read_bytes()
        whole.update(f"\0{path.relative_to(HERE)}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()[:32]


def with_cargo() -> dict[str, str]:
    """The environment of a build; rustup's own folder counts though a shell without its profile does not know it."""
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), str(home / "bin")])
    return {**os.environ, "PATH": path, "CARGO_TARGET_DIR": str(CACHE / "raft-target")}


def build(wheels: Path, environment: dict[str, str]) -> None:
    """The folder of the wheel appears in one step: a build that was broken off leaves nothing to be taken for one."""
    print("building the consensus engine, raft/: about two minutes, once", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=wheels.parent) as name:
        made = Path(name) / "made"
        command = ["maturin", "build", "--quiet", "--release", "--manifest-path", str(HERE / "Cargo.toml")]
        subprocess.run([*command, "--out", str(made)], env=environment, stdout=sys.stderr, check=True)  # noqa: S603 - all of it ours
        made.rename(wheels)
    for old in sorted(wheels.parent.iterdir(), key=lambda folder: folder.stat().st_mtime)[:-WHEELS_MAX]:
        shutil.rmtree(old)


def main() -> int:
    environment = with_cargo()
    wheels = CACHE / "raft-wheels" / digest()
    wheels.parent.mkdir(parents=True, exist_ok=True)
    with (CACHE / "raft.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two builds would take each other's results out of the folder they share
        if not wheels.is_dir():
            if shutil.which("cargo", path=environment["PATH"]) is None:
                print(NO_CARGO, file=sys.stderr)
                return 0
            try:
                build(wheels, environment)
            except subprocess.CalledProcessError as error:
                print(f"raft/ cannot be built: maturin ended with {error.returncode}", file=sys.stderr)
                return 1
    print(*wheels.glob("*.whl"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
