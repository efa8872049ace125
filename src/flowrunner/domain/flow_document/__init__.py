"""Reads a flow document: a flow that can run, or every fault with its line and column."""

from flowrunner.domain.flow_document.document import CheckSchema
from flowrunner.domain.flow_document.reading import Reading, read_flow, read_stored_flow, study_flow

__all__ = ["CheckSchema", "Reading", "read_flow", "read_stored_flow", "study_flow"]
