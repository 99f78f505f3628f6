"""The project's promises about itself: its commands, its pins, its layering, its errors and what its files may say."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

import scribe_ledger
from scribe_ledger import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "scribe_ledger"
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLUSTER: list[str] = PYPROJECT["project"]["optional-dependencies"]["cluster"]
ENGINE = "scribe-raft"
"""Built from raft/, and so in no lock file."""
ENGINE_PROJECT: dict[str, Any] = tomllib.loads((ROOT / "raft" / "pyproject.toml").read_text())


# --- commands --------------------------------------------------------------------------------------------------

CONTRACT = {"install", "run", "test", "check", "format", "bench", "docs", "soak", "clean"}


def make(*arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def test_bare_make_lists_the_targets_and_what_they_do() -> None:
    listed = dict(re.findall(r"^  ([a-z]+) +(\S.*)$", make(), re.MULTILINE))
    assert set(listed) == CONTRACT | {"lock"}


@pytest.mark.parametrize("target", sorted(CONTRACT))
def test_make_target_has_a_recipe(target: str) -> None:
    assert make("--dry-run", "--always-make", target).strip()


def test_ci_runs_what_people_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert {"make check", "make test"} <= set(re.findall(r"make \w+", script.read_text()))
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "run: .ci/run" in workflow
    supported = re.findall(r"Python :: (3\.\d+)", "\n".join(PYPROJECT["project"]["classifiers"]))
    tested = re.findall(r'"(3\.\d+)"', workflow)
    assert (tested[0], tested[-1]) == (supported[0], supported[-1])


# --- pins ------------------------------------------------------------------------------------------------------


def pins(name: str) -> dict[str, str]:
    """The exact versions of a lock file; a line that is anything else fails the test."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    found = {}
    for line in filter(None, lines):
        match = re.fullmatch(r"([a-z0-9-]+)==([0-9][0-9a-z.]*)(?: ; .*)?", line)
        assert match, f"{name}: not an exact pin: {line}"
        found[match[1]] = match[2]
    return found


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.txt", PYPROJECT["project"]["dependencies"]),
        ("requirements.txt", [text for text in CLUSTER if Requirement(text).name != ENGINE]),
        ("requirements-dev.txt", PYPROJECT["dependency-groups"]["dev"]),
        ("requirements-dev.txt", PYPROJECT["build-system"]["requires"]),
        ("requirements-dev.txt", ENGINE_PROJECT["build-system"]["requires"]),
    ],
    ids=["package", "cluster", "tools", "build", "build of the engine"],
)
def test_lock_holds_a_version_that_satisfies_each_requirement(lock: str, wanted: list[str]) -> None:
    pinned = pins(lock)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pinned[requirement.name]), f"{requirement}: call `make lock`"


def test_the_engine_of_this_repository_is_the_one_that_clusters_ask_for() -> None:
    (wanted,) = (requirement for requirement in map(Requirement, CLUSTER) if requirement.name == ENGINE)
    cargo = tomllib.loads((ROOT / "raft" / "Cargo.toml").read_text())
    assert wanted.specifier.contains(cargo["package"]["version"])
    assert ENGINE_PROJECT["project"]["name"] == ENGINE


def test_lock_files_agree_where_both_name_a_package() -> None:
    package, tools = pins("requirements.txt"), pins("requirements-dev.txt")
    assert {name: package[name] for name in package.keys() & tools.keys()} == {
        name: tools[name] for name in package.keys() & tools.keys()
    }


# --- layering --------------------------------------------------------------------------------------------------

FLOORS = ["version", "errors", "model", "config", "merkle", "objects", "segments", "ledger", "archive", "consensus"]
"""From the ground up; each may import itself and what stands before it."""

MAY_IMPORT = {room: set(FLOORS[: floor + 1]) for floor, room in enumerate(FLOORS)}
SHARED = MAY_IMPORT["config"]
MAY_IMPORT["merkle"] -= {"config"}
MAY_IMPORT["verify"] = SHARED - {"config"} | {"merkle", "verify"}  # offline: it knows proofs, not stores
MAY_IMPORT["client"] = SHARED | {"merkle", "verify", "client"}  # it verifies without importing the server
MAY_IMPORT["http"] = {*FLOORS, "verify", "client", "http"}
MAY_IMPORT["node"] = MAY_IMPORT["http"] | {"node"}
MAY_IMPORT["bench"] = {*FLOORS, "verify", "client", "bench", ""}  # a node is started, and never imported
MAY_IMPORT["cli"] = MAY_IMPORT["node"] | {"bench", "cli"}
MAY_IMPORT["cli"] |= {""}  # "" is scribe_ledger/__init__.py: the library's face, for those above it
MAY_IMPORT["__main__"] = {"cli"}  # `python -m scribe_ledger`
MAY_IMPORT[""] = {*FLOORS, "verify", "client"}

PURE = {"version", "errors", "model", "merkle", "verify"}
OUTSIDE_WORLD = {"asyncio", "http", "multiprocessing", "os", "pathlib", "random", "selectors", "shutil", "signal"}
OUTSIDE_WORLD |= {"socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib"}
HEAVY = {"obstore", "pyarrow", "rocksdict", "scribe_raft", "uvicorn", "zeroconf"}


def modules() -> Iterator[tuple[Path, str, ast.Module]]:
    """Every module of the package with its room: the first name below the package, "" for the package itself."""
    for path in sorted(PACKAGE.rglob("*.py")):
        first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        yield path, "" if first == "__init__" else first, ast.parse(path.read_text(), filename=str(path))


def imported(path: Path, node: ast.AST) -> Iterator[str]:
    """The full names that an import statement brings in, relative ones resolved."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = ("scribe_ledger", *path.relative_to(PACKAGE).parts)[: -node.level]
            base = ".".join(filter(None, [*package, base]))
        # `from scribe_ledger import verify` names a module, not what the package defines
        yield from (f"{base}.{alias.name}" for alias in node.names) if base == "scribe_ledger" else [base]


@pytest.mark.no_cover
def test_imports_point_down_the_rooms() -> None:
    wrong = []
    for path, room, tree in modules():
        if room not in MAY_IMPORT:
            wrong.append(f"{room} is no room: give it a place in ARCHITECTURE.md and here")
            continue
        for node in ast.walk(tree):
            for name in imported(path, node):
                parts = name.split(".")
                if parts[0] != "scribe_ledger":
                    continue
                other = parts[1] if len(parts) > 1 else ""
                other = other if other in MAY_IMPORT else ""
                if other not in MAY_IMPORT[room]:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.no_cover
def test_pure_rooms_never_touch_the_outside_world() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, room, tree in modules()
        if room in PURE
        for name in chain.from_iterable(imported(path, node) for node in ast.walk(tree))
        if name.split(".")[0] in OUTSIDE_WORLD | HEAVY
    ]
    assert not wrong, "\n".join(wrong)


def test_every_folder_of_code_is_a_package() -> None:
    missing = {path.parent for path in PACKAGE.rglob("*.py") if not (path.parent / "__init__.py").exists()}
    assert not missing, "coverage and the walk over all errors see packages only: add __init__.py"


@pytest.mark.no_cover
def test_every_imported_package_is_a_declared_dependency() -> None:
    optional = PYPROJECT["project"].get("optional-dependencies", {}).values()
    declared = {
        Requirement(text).name.replace("-", "_") for text in chain(PYPROJECT["project"]["dependencies"], *optional)
    }
    known = declared | sys.stdlib_module_names | {"scribe_ledger", "_typeshed"}
    known |= {"pydantic_core"}  # comes with pydantic, which documents it as the way to raise its errors
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path, _, tree in modules()
        for name in chain.from_iterable(imported(path, node) for node in ast.walk(tree))
        if name.split(".")[0] not in known
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_verifying_loads_no_storage() -> None:
    probe = "import sys; from scribe_ledger import verify; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", probe], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert not HEAVY & set(loaded.split())


# --- errors ----------------------------------------------------------------------------------------------------


def every_error() -> Iterator[type[errors.ScribeError]]:
    for module in pkgutil.walk_packages(scribe_ledger.__path__, "scribe_ledger."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting = [errors.ScribeError]
    while waiting:
        waiting.extend((error := waiting.pop()).__subclasses__())
        yield error


def test_every_error_kind_has_its_row_and_every_row_its_error() -> None:
    assert {error.kind for error in every_error()} == set(errors.KINDS)


def test_errors_of_the_hierarchy_say_what_they_are() -> None:
    own = [error for error in every_error() if error.__module__ == errors.__name__]
    kinds = [error.__dict__["kind"] for error in own]
    assert len(kinds) == len(set(kinds))
    assert all(error.__doc__ for error in own)


def test_every_kind_has_a_status_and_an_exit_code_of_the_contract() -> None:
    statuses = {400, 401, 403, 404, 405, 409, 412, 413, 416, 429, 503}
    assert {row.http_status for row in errors.KINDS.values()} <= statuses
    assert {row.exit_code for row in errors.KINDS.values()} <= {1, 2, 3}


# --- what files may say ----------------------------------------------------------------------------------------

MADE = {"build", "data", "dist", "htmlcov", "bench-results", "bench/results", "raft/target"}
MADE_PREFIXES = ("node-", "scribe-bench-")
HIDDEN_BUT_OURS = {".ci", ".github", ".gitignore"}


def is_ours(path: Path) -> bool:
    hidden = path.name.startswith(".") and path.name not in HIDDEN_BUT_OURS
    return (
        not hidden and path.name != "__pycache__" and str(path) not in MADE and not str(path).startswith(MADE_PREFIXES)
    )


def project_files() -> Iterator[tuple[Path, str]]:
    """Every text file of the project, but for what commands make."""
    for top, folders, names in os.walk(ROOT):
        here = Path(top).relative_to(ROOT)
        folders[:] = [name for name in folders if is_ours(here / name)]
        for path in (here / name for name in names if is_ours(here / name)):
            content = (ROOT / path).read_bytes()
            if b"\0" not in content:
                yield path, content.decode()


# Written with character classes so that this file does not hold what it looks for.
REGISTRY = re.compile(
    r"py[p]i\.org|python[h]osted\.org|registry\.[n]pmjs|crates\.[i]o(?!-index)|proxy\.golang\.[o]rg|conda\.[o]rg"
    r"|index[-_]u[r]l|find[-_]l[i]nks|https?:/[/]\S*/(?:simple|artifactory)/"
)
MACHINE = re.compile(r"(?<![\w.~/-])/(?:[w]ork|[r]oot|[h]ome|[U]sers|[f]arm)/\w|\.\./[s]hared\b|bash_[j]obs")


@pytest.mark.parametrize("forbidden", [REGISTRY, MACHINE], ids=["registry hosts", "machine paths"])
def test_no_file_names(forbidden: re.Pattern[str]) -> None:
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in project_files()
        for number, line in enumerate(text.splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("forbidden", "text"),
    [
        (REGISTRY, "--index" + "-url = https://example.org"),
        (REGISTRY, "https://files.python" + "hosted.org/x"),
        (MACHINE, "see /ro" + "ot/notes"),
        (MACHINE, "(/ho" + "me/anna/data)"),
    ],
)
def test_what_no_file_may_name_would_be_found(forbidden: re.Pattern[str], text: str) -> None:
    assert forbidden.search(text)


# --- tests -----------------------------------------------------------------------------------------------------

MARKERS = {"storage", "crypto", "http", "s3", "consensus", "cluster"}
ROOMS_WITH_MARKERS = ("merkle", "objects", "segments", "ledger", "archive", "consensus", "http")


def test_every_test_of_a_room_carries_a_marker() -> None:
    unmarked = [
        str(path.relative_to(ROOT))
        for room in ROOMS_WITH_MARKERS
        for path in sorted((ROOT / "tests" / room).rglob("test_*.py"))
        if not MARKERS & set(re.findall(r"pytest\.mark\.(\w+)", path.read_text()))
    ]
    assert not unmarked, f"say `pytestmark = pytest.mark.…` in {unmarked}"
