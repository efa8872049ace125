"""The hostile corpus: requests and flows that could occupy the event loop, or fill the memory. One module an area.

To add a case, add a line to `CASES` of the module of its area, or a module with a `CASES` of its own; it is found by
itself. `test_loop_iterations.py` runs each against a real server and looks at the longest iteration of its loop:

    pytest tests/security/test_loop_iterations.py -k 'yaml'

A case that takes more than a second of processor time is a `long_case`: CI runs a third of these each day.

A case whose repair is another piece of work has `known="…"` with what will repair it, and is not run. Whoever lands
the repair deletes that argument, and sees the case pass.
"""

import pkgutil
from importlib import import_module

from security.hostile.case import Case


def all_cases() -> list[tuple[str, Case]]:
    """Each with its name for a test: `yaml: many directives`."""
    found = []
    for module in pkgutil.iter_modules(__path__):
        cases: tuple[Case, ...] = getattr(import_module(f"{__name__}.{module.name}"), "CASES", ())
        found += [(f"{module.name}: {case.name}", case) for case in cases]
    return found
