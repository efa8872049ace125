"""The JSON Schema of the flow language, for editors: what may be written where, and what it means.

It is draft-07, which every editor's YAML support knows. It says less than the reader of flow documents,
which knows edges, expressions and values as well. What it refuses the reader refuses too, but for keys
that are left empty.
"""

from flowrunner.language.schema.document import flow_schema, node_type_schema

__all__ = ["flow_schema", "node_type_schema"]
