"""Flows for tests, from as little text as says what matters."""

from collections.abc import Mapping
from functools import cache
from typing import Final

from flowrunner.domain.flow import Flow, NodeTypeSpec
from flowrunner.language import read_flow
from flowrunner.nodes import built_in

# To be filled in: where the receiver is.
SENDS_A_SECRET: Final = """
metadata: {{name: Sends a secret, version: "1.0"}}
nodes:
  send: {{type: http.request, params: {{url: "{receiver}/echo", method: POST, body: "${{secrets.KEY}}"}}}}
"""


@cache
def specs() -> Mapping[str, NodeTypeSpec]:
    """The built-in node types, as the reader of documents knows them."""
    return {name: node_type.spec() for name, node_type in built_in().items()}


def flow_of(document: str, types: Mapping[str, NodeTypeSpec] | None = None) -> Flow:
    return read_flow(document, specs() if types is None else types)
