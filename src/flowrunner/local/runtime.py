"""Assembly of the reader of flows and the runtime of their tests."""

import contextlib
from collections.abc import AsyncIterator, Iterable

from flowrunner.flowtest.run_test import Runtime
from flowrunner.local.reader import node_types
from flowrunner.ports.secrets import Redactor
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.security.redaction import SecretRedactor
from flowrunner.services.language import Language


@contextlib.asynccontextmanager
async def open_runtime(*, script_workers: int = 1) -> AsyncIterator[tuple[Language, Runtime]]:
    """Open the reader and the runtime. No process starts before the first JavaScript."""
    types, schemas = node_types(), RustSchemas()
    sandbox = JailedSandbox(script_workers)
    specs = {name: node_type.spec() for name, node_type in types.items()}
    try:
        yield (
            Language(specs, schemas, sandbox),
            Runtime(node_types=types, sandbox=sandbox, schemas=schemas, make_redactor=_redactor),
        )
    finally:
        await sandbox.close()


def _redactor(values: Iterable[str]) -> Redactor:
    redactor = SecretRedactor()
    redactor.add(values)
    return redactor
