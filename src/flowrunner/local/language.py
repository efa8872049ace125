"""Assembly of the flow language without a server."""

import contextlib
from collections.abc import AsyncIterator, Callable

from flowrunner.local.reader import LazySandbox, node_type_specs
from flowrunner.schemas import RustSchemas
from flowrunner.services.language import Language


@contextlib.asynccontextmanager
async def open_language(*, before_scripts: Callable[[], None]) -> AsyncIterator[Language]:
    """Open the flow language. No process starts before the first JavaScript."""
    sandbox = LazySandbox(before_scripts)
    try:
        yield Language(node_type_specs(), RustSchemas(), sandbox)
    finally:
        await sandbox.close()
