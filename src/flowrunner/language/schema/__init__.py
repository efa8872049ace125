"""JSON Schema of the flow language, for editors.

It is draft-07, which the YAML support of every editor knows. It checks less than the reader of flow documents, which
also checks edges, expressions and values. The reader rejects everything that the schema rejects, except empty keys.
"""

from flowrunner.language.schema.document import flow_schema, node_type_schema

__all__ = ["flow_schema", "node_type_schema"]
