"""Test results as JUnit XML, for continuous integration.

There is no standard. The output satisfies the strictest schema in use, that of Apache Ant's report, and so also the
schema of Jenkins.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree  # nosec B405 # it only writes

import click

from flowrunner.cli.tested import FlowTestReport, explain
from flowrunner.cli.text import plain
from flowrunner.flowtest.run_test import FlowTestResult

# The real host name is not published.
_HOST: Final = "localhost"


def write_junit(path: Path, tested: Sequence[FlowTestReport]) -> None:
    """Write the results to a file. Raises: click.UsageError."""
    root = ElementTree.Element("testsuites")
    for number, one in enumerate(tested):
        _add_suite(root, number, one)
    ElementTree.indent(root)
    try:
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise click.UsageError(f"--junit: {path} cannot be written: {error.strerror}") from None


def _add_suite(root: ElementTree.Element, number: int, one: FlowTestReport) -> None:
    file = _xml(one.file)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        id=str(number),
        package="flowrunner",
        name=file,
        hostname=_HOST,
        timestamp=one.began_at.strftime("%Y-%m-%dT%H:%M:%S"),
        tests=str(max(len(one.results), int(one.is_invalid))),
        failures=str(sum(not result.has_passed for result in one.results)),
        errors=str(int(one.is_invalid)),
        time=f"{sum(result.seconds for result in one.results):.3f}",
    )
    ElementTree.SubElement(suite, "properties")
    if one.is_invalid:
        case = ElementTree.SubElement(suite, "testcase", name="the flow is valid", classname=file, time="0")
        lines = [f"{one.file}:{f.line}:{f.column}: {f.code}: {f.message}" for f in one.faults]
        error = ElementTree.SubElement(case, "error", message="the flow has faults", type="flow.invalid")
        error.text = _xml("\n".join(lines))
    for result in one.results:
        _add_case(suite, file, result)
    ElementTree.SubElement(suite, "system-out")
    ElementTree.SubElement(suite, "system-err")


def _add_case(suite: ElementTree.Element, file: str, result: FlowTestResult) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", name=_xml(result.test.name), classname=file, time=f"{result.seconds:.3f}"
    )
    if result.has_passed:
        return
    what = result.problems or [f"not as expected: {mismatch.what}" for mismatch in result.mismatches]
    type = "problem" if result.problems else "expectation"
    failure = ElementTree.SubElement(case, "failure", message=_xml("; ".join(what)), type=type)
    failure.text = _xml("\n".join(explain(result)))


def _xml(text: str) -> str:
    """Return the text without characters that XML cannot represent."""
    return "".join(c for c in plain(text) if c in "\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c < "\ufffe"))
