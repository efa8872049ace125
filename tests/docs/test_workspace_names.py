"""Names of workspaces: none says that it is an account."""

import ast
from collections.abc import Iterator
from pathlib import Path

import flowrunner

SOURCES = Path(flowrunner.__file__).parent


def names_with_types(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield each annotated name with its annotation; functions with that of their result."""
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name, annotation=ast.expr() as annotation):
                yield name, annotation
            case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name), annotation=annotation):
                yield name, annotation
            case ast.FunctionDef(name=name, returns=ast.expr() as annotation):
                yield name, annotation
            case ast.AsyncFunctionDef(name=name, returns=ast.expr() as annotation):
                yield name, annotation


def test_no_name_of_a_workspace_says_account() -> None:
    wrong = []
    for path in SOURCES.rglob("*.py"):
        for name, annotation in names_with_types(ast.parse(path.read_text())):
            words = ast.unparse(annotation)
            is_workspace = "WorkspaceId" in words and "AccountId" not in words
            if is_workspace and "account" in name.lower():
                wrong.append(f"{path.relative_to(SOURCES)}: {name}")

    assert wrong == []
