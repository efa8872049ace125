"""What an expression reads, in each form in which JavaScript reads a member: the form makes no difference."""

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest

from flowrunner.language import study_flow
from support.flows import specs

# Forms of an expression that reads the key `KEY` of an object.
FORMS: Final = (
    "ROOT.KEY", "ROOT.KEY.a", "ROOT.KEY.a.b", "ROOT['KEY']", 'ROOT["KEY"]', "ROOT?.KEY", "ROOT?.['KEY']", "ROOT.KEY?.a",
    "ROOT.KEY[0]", "ROOT['KEY'].a", "ROOT.KEY.trim()", "ROOT.KEY.a.trim()", "[ROOT.KEY]", "{a: ROOT.KEY.a}",
    "`x ${ROOT.KEY}`", "`x ${ROOT.KEY.a}`", "f(ROOT.KEY)", "x => ROOT.KEY.a", "ROOT.KEY + 1", "1 + ROOT.KEY.a",
    "ROOT . KEY", "ROOT\n.KEY\n.a", "!ROOT.KEY", "-ROOT.KEY.a", "ROOT.KEY ? 1 : 2", "1 ? ROOT.KEY : 2",
    "(ROOT.KEY)", "{...ROOT.KEY}", "typeof ROOT.KEY", "ROOT.KEY /* a */", "/* a */ ROOT.KEY.a", "1 / ROOT.KEY",
    "ROOT.KEY / 1", "/a/.test(ROOT.KEY)", "ROOT.KEY instanceof Object", "'KEY' in ROOT.KEY",
)  # fmt: skip
# Names whose keys are known, each with one that it has not.
ROOTS: Final = ("flow", "execution", "nodes", "vars", "flow.input")


def studied(expression: str) -> Any:
    document: Mapping[str, Any] = {
        "inputs": {"n": {"type": "string"}},
        "vars": {"v": 1},
        "nodes": {"a": {"type": "transform", "params": {"value": f"${{{expression}}}"}}},
    }
    return study_flow(json.dumps(document), specs())


def expression(form: str, root: str, key: str) -> str:
    # Every other name of the form is one that JavaScript has.
    return form.replace("ROOT", root).replace("KEY", key).replace("f(", "String(").replace("x =>", "() =>")


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_known_in_whatever_form_it_is_read(form: str) -> None:
    reading = studied(expression(form, "secrets", "TOKEN"))

    assert [fault for fault in reading.faults if not fault.is_warning] == []
    assert list(reading.secrets) == ["TOKEN"]


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("form", FORMS)
def test_a_name_that_is_not_there_is_reported_in_whatever_form_it_is_read(form: str, root: str) -> None:
    reading = studied(expression(form, root, "nosuch"))

    assert [fault.code for fault in reading.faults if not fault.is_warning] == ["expression.unknown_name"]
