"""The package: the stub says what the module has, and both are installed."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
from pathlib import Path

import scribe_raft

STUB = Path(__file__).parents[1] / "scribe_raft.pyi"
TREE = ast.parse(STUB.read_text())


def names(body: list[ast.stmt]) -> set[str]:
    """What a block of the stub declares, but for its aliases of types."""
    declared = {node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is None:
            declared.add(node.target.id)
    return declared


def public(thing: object) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")} if isinstance(thing, type) else set()


def classes() -> dict[str, ast.ClassDef]:
    return {node.name: node for node in TREE.body if isinstance(node, ast.ClassDef)}


def test_the_stub_declares_every_name_and_no_other() -> None:
    assert names(TREE.body) | {"__version__"} == set(vars(scribe_raft)["__all__"]) | {"__version__"}


def test_the_stub_declares_every_attribute_and_no_other() -> None:
    for name, declared in classes().items():
        assert names(declared.body) - {"__init__"} == public(getattr(scribe_raft, name)), name


def test_parameters_are_named_and_ordered_alike() -> None:
    for name, declared in classes().items():
        for method in declared.body:
            if not isinstance(method, ast.FunctionDef) or method.decorator_list:
                continue
            owner = getattr(scribe_raft, name)
            actual = inspect.signature(owner if method.name == "__init__" else getattr(owner, method.name))
            given = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
            expected = [argument.arg for argument in given if argument.arg != "self"]
            assert [one for one in actual.parameters if one != "self"] == expected, f"{name}.{method.name}"


def test_defaults_are_alike() -> None:
    init = next(node for node in classes()["Node"].body if isinstance(node, ast.FunctionDef))
    declared = {
        argument.arg: eval(compile(ast.Expression(default), "stub", "eval"))
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
        if default is not None
    }
    actual = inspect.signature(scribe_raft.Node).parameters
    told = {name: one.default for name, one in actual.items() if one.default is not one.empty}
    for pair in ("hard_state", "truncated"):  # the compiled signature has no words for a tuple
        assert told.pop(pair) is ...
        assert set(declared.pop(pair)) == {0}
    assert told == declared


def test_types_and_version_are_installed() -> None:
    folder = Path(scribe_raft.__file__).parent
    assert (folder / "py.typed").exists()
    assert (folder / "__init__.pyi").read_text() == STUB.read_text()
    assert scribe_raft.__version__ == importlib.metadata.version("scribe-raft")


def test_the_wheel_serves_every_later_python() -> None:
    files = importlib.metadata.files("scribe-raft") or []
    assert [path.name for path in files if path.suffix == ".so"] == ["scribe_raft.abi3.so"]
