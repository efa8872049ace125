"""Reader of flow documents. It returns a runnable flow, or every fault with its line and column."""

from flowrunner.language.document import CheckSchema
from flowrunner.language.reading import Reading, read_flow, read_stored_flow, study_flow

__all__ = ["CheckSchema", "Reading", "read_flow", "read_stored_flow", "study_flow"]
