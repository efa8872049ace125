"""What the program's source may not do, found in its syntax tree: docs/decisions/0008 says why it is done here.

A rule has no exceptions by comment. Whoever needs one has to change the rule, where it is seen.
"""

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    place: str
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.place}:{self.line}: {self.rule}"


SQL_BY_BUILDING: Final = "SQL is built from text: bind a parameter"
ADDRESS_BY_FLAG: Final = "is_private and is_global miss ranges: use the table of security.egress"
TLS_UNCHECKED: Final = "TLS is not checked"
TASK_WITHOUT_OWNER: Final = "nobody owns this task: keep it, or use a TaskGroup"
TASK_NOT_AWAITED: Final = "this task may go on after its end: gather it after it was cancelled"
LEFT_OPEN: Final = "this database stays open after an error: close it in a finally that begins at once"
HELD_TOO_SHORT: Final = "what is held is given back before the yield: yield within it"
CODE_FROM_TEXT: Final = "text or bytes become code"
SHELL: Final = "a shell reads this"

_EXECUTE: Final = frozenset(
    {"execute", "executemany", "executescript", "execute_fetchall", "fetch", "fetchrow", "fetchval"}
)
_SQL: Final = re.compile(
    r"\s*((SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP|PRAGMA|ATTACH|COPY|LISTEN)\s|WITH\s[\w\s(,)]*\sAS\s)",
    re.I,
)
# The beginning of a sentence for people: "Delete the flow…".
_SENTENCE: Final = re.compile(r"[A-Z][a-z]+ (?!(?i:from|into|table|index|view|trigger|distinct|\*))")
_FLAGS: Final = frozenset({"is_private", "is_global", "is_reserved"})
_UNCHECKED: Final = frozenset({"verify", "verify_ssl", "ssl", "check_hostname", "ssl_verify"})
_MAKES_TASKS: Final = frozenset({"create_task", "ensure_future", "run_coroutine_threadsafe"})
_CODE: Final = frozenset({"eval", "exec", "compile", "__import__"})
_CODE_MODULES: Final = frozenset(
    {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
)
_YAML: Final = frozenset(
    {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all", "Loader", "CLoader",
     "FullLoader", "CFullLoader", "UnsafeLoader", "CUnsafeLoader"}
)  # fmt: skip


def findings_in(directory: Path) -> list[Finding]:
    found: list[Finding] = []
    for path in sorted(directory.rglob("*.py")):
        found += findings(path.read_text(), str(path.relative_to(directory)))
    return found


def findings(source: str, place: str = "") -> list[Finding]:
    tree = ast.parse(source)
    groups = _task_groups(tree)
    found = {
        Finding(place, node.lineno, rule)  # type: ignore[attr-defined]
        for node in ast.walk(tree)
        for rule in (*_of_sql(node), *_of_names(node), *_of_calls(node), *_of_tasks(node, groups))
    }
    return sorted(found)


def _of_sql(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and _name(node.func) in _EXECUTE and node.args and _is_built(node.args[0]):
        yield SQL_BY_BUILDING
    # Also where it is built far from where it is executed.
    if isinstance(node, ast.JoinedStr | ast.BinOp | ast.Call) and _is_built(node) and _is_sql(_beginning(node)):
        yield SQL_BY_BUILDING
    # Or piece by piece, under a name.
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        within = list(ast.walk(node))
        grown = {n.target.id for n in within if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)}
        for call in within:
            match call:
                case ast.Call(func=function, args=[ast.Name(id=id), *_]) if _name(function) in _EXECUTE and id in grown:
                    yield SQL_BY_BUILDING


def _is_built(node: ast.expr) -> bool:
    match node:
        case ast.JoinedStr(values=values):
            return any(isinstance(value, ast.FormattedValue) and not _is_number(value) for value in values)
        case ast.BinOp(op=ast.Add() | ast.Mod(), left=left, right=right):
            is_text = _is_text(left) or _is_built(left) or _is_text(right)
            return is_text and not (_is_fixed(left) and _is_fixed(right))
        case ast.Call(func=ast.Attribute(attr="format" | "format_map", value=value)):
            return _is_text(value)
        case ast.Call(func=ast.Attribute(attr="join", value=ast.Constant())):
            return True
        case _:
            return False


def _is_number(value: ast.FormattedValue) -> bool:
    """It is written by `:d`, which takes nothing but whole numbers."""
    spec = value.format_spec
    return isinstance(spec, ast.JoinedStr) and ast.unparse(spec) in ("f'd'", "f':d'")


def _is_text(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr():
            return True
        case ast.BinOp(left=left):
            return _is_text(left)
        case ast.Name(id=id):
            return id.isupper()
        case _:
            return False


def _is_fixed(node: ast.expr) -> bool:
    """A text in the source, or a constant by its name."""
    match node:
        case ast.Constant(value=str()):
            return True
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _is_fixed(left) and _is_fixed(right)
        case ast.Name(id=id):
            return id.isupper()
        case _:
            return False


def _beginning(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=[first, *_]):
            return _beginning(first)
        case ast.BinOp(left=left):
            return _beginning(left)
        case ast.Call(func=ast.Attribute(value=value)):
            return _beginning(value)
        case _:
            return ""


def _of_names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Attribute(attr=attribute) if attribute in _FLAGS:
            yield ADDRESS_BY_FLAG
        case ast.Call(func=ast.Name(id="getattr" | "attrgetter"), args=args) if _names_a_flag(args):
            yield ADDRESS_BY_FLAG
        case ast.Attribute(value=ast.Name(id="yaml"), attr=attribute) if attribute in _YAML:
            yield CODE_FROM_TEXT
        case ast.Import(names=names) if any(name.name.partition(".")[0] in _CODE_MODULES for name in names):
            yield CODE_FROM_TEXT
        case ast.ImportFrom(module=str(module), names=names):
            top = module.partition(".")[0]
            if top in _CODE_MODULES or (top == "yaml" and any(name.name in _YAML for name in names)):
                yield CODE_FROM_TEXT
        case ast.Attribute(attr="CERT_NONE" | "_create_unverified_context"):
            yield TLS_UNCHECKED


def _is_sql(text: str) -> bool:
    return _SQL.match(text) is not None and _SENTENCE.match(text) is None


def _names_a_flag(args: list[ast.expr]) -> bool:
    return any(isinstance(argument, ast.Constant) and argument.value in _FLAGS for argument in args)


def _of_calls(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.keyword) and node.arg in _UNCHECKED and _is_false(node.value):
        yield TLS_UNCHECKED
    match node:
        case ast.Assign(targets=[ast.Attribute(attr=attribute)], value=value) if attribute in _UNCHECKED:
            if _is_false(value):
                yield TLS_UNCHECKED
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CODE:
        yield CODE_FROM_TEXT
    match node:
        case ast.keyword(arg="shell", value=value) if not _is_false(value):
            yield SHELL
        case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="system" | "popen")):
            yield SHELL
        case ast.Call(func=ast.Attribute(attr="create_subprocess_shell" | "getoutput" | "getstatusoutput")):
            yield SHELL


def _is_false(node: ast.expr) -> bool:
    """Also 0, which is taken for it. None stands for the default."""
    return isinstance(node, ast.Constant) and node.value is not None and not node.value


def _of_tasks(node: ast.AST, groups: frozenset[str]) -> Iterator[str]:
    match node:
        case ast.Expr(value=ast.Call() as call) if _makes_orphan(call, groups):
            yield TASK_WITHOUT_OWNER
        case ast.Expr(value=ast.ListComp(elt=ast.Call() as call)) if _makes_orphan(call, groups):
            yield TASK_WITHOUT_OWNER
        case ast.Assign(targets=[ast.Name(id=id)], value=ast.Call() as call) if _makes_orphan(call, groups):
            if id.strip("_") == "":
                yield TASK_WITHOUT_OWNER
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from _forgotten(node, groups)
            yield from _released(node)
            yield from _left_open(node)
            if isinstance(node, ast.AsyncFunctionDef):
                yield from _not_awaited(node)


def _forgotten(function: ast.FunctionDef | ast.AsyncFunctionDef, groups: frozenset[str]) -> Iterator[str]:
    """A task under a name that is never read."""
    read = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=id)], value=ast.Call() as call):
                if _makes_orphan(call, groups) and id not in read:
                    yield TASK_WITHOUT_OWNER


def _not_awaited(function: ast.AsyncFunctionDef) -> Iterator[str]:
    """A task that is cancelled, and not gathered afterwards."""
    without_work = set()
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    for node in ast.walk(function):
        match node:
            # A future, a timer, and a task that waits for an event alone.
            case (
                ast.Assign(targets=[ast.Name(id=id)], value=ast.Call(func=made, args=args))
                | ast.AnnAssign(target=ast.Name(id=id), value=ast.Call(func=made, args=args))
            ) if _name(made) in ("create_future", "call_later") or (
                _name(made) == "ensure_future" and _name_of_call(args) == "wait"
            ):
                without_work.add(id)
    gathered = max((call.lineno for call in calls if _name(call.func) in ("gather", "wait")), default=0)
    for call in calls:
        match call:
            case ast.Call(func=ast.Attribute(attr="cancel", value=task), args=[]) if (
                call.lineno > gathered and _name(task) not in without_work
            ):
                yield TASK_NOT_AWAITED


def _name_of_call(args: list[ast.expr]) -> str:
    return _name(args[0].func) if args and isinstance(args[0], ast.Call) else ""


def _released(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """A yield that follows a block in which a part of a limit is held."""
    for statements in _blocks(function):
        is_held = False
        for statement in statements:
            if is_held and any(isinstance(within, ast.Yield) for within in ast.walk(statement)):
                yield HELD_TOO_SHORT
            if isinstance(statement, ast.With | ast.AsyncWith):
                is_held |= any(_name_of_call([item.context_expr]) == "hold" for item in statement.items)


def _left_open(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """A database that is opened outside of a try, and not directly before one."""
    tried = {id(within) for node in ast.walk(function) if isinstance(node, ast.Try) for within in node.body}
    for statements in _blocks(function):
        for statement, after in itertools.zip_longest(statements, statements[1:]):
            match statement:
                case ast.Assign(value=ast.Call(func=ast.Attribute(attr="open", value=ast.Name(id=of)))) if (
                    of in ("location", "self") and id(statement) not in tried and not isinstance(after, ast.Try)
                ):
                    yield LEFT_OPEN


def _blocks(function: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(function):
        for field in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, field, None), list):
                yield statements


def _makes_orphan(call: ast.Call, groups: frozenset[str]) -> bool:
    if _name(call.func) not in _MAKES_TASKS:
        return False
    return not (isinstance(call.func, ast.Attribute) and _name(call.func.value) in groups)


def _task_groups(tree: ast.AST) -> frozenset[str]:
    """Names, also of attributes, under which a module keeps a TaskGroup."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.withitem(context_expr=ast.Call(func=function), optional_vars=ast.expr() as target):
                if _name(function) == "TaskGroup":
                    names.add(_name(target))
            case ast.arg(arg=name, annotation=ast.expr() as annotation) if "TaskGroup" in ast.unparse(annotation):
                names.add(name)
    return frozenset(names)


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=id):
            return id
        case ast.Attribute(attr=attribute):
            return attribute
        case _:
            return ""
