"""One day with the client that openapi-python-client makes. It prints what it has seen, for the test."""

import json
import sys

from flowrunner_client import AuthenticatedClient, Client
from flowrunner_client.api.authentication import login
from flowrunner_client.api.executions import get_execution, list_steps, run_flow
from flowrunner_client.api.flows import create_flow
from flowrunner_client.api.schemas import get_flow_schema
from flowrunner_client.models import CreateFlow, ErrorAnswer, Login, RunFlow, RunFlowInput

url, email, password = sys.argv[1:]
session = login.sync(client=Client(base_url=url), body=Login(username=email, password=password))
client = AuthenticatedClient(base_url=url, token=session.token)

definition = 'nodes:\n  hello: {type: return, params: {value: "Hello, ${flow.input.name}"}}\n'
flow = create_flow.sync(client=client, body=CreateFlow(name="From Python", definition=definition))
input = RunFlowInput.from_dict({"name": "Ada"})
run = run_flow.sync(flow.id, client=client, body=RunFlow(input_=input), prefer="wait=20")
# Times are times.
assert run.completed_at >= run.created_at
steps = list_steps.sync(run.execution_id, client=client)
schema = get_flow_schema.sync(client=client)
# It is no attribute: a generated class has one with a similar name, for all members that are not described.
assert schema.to_dict()["additionalProperties"] is schema["additionalProperties"]

faulty = create_flow.sync(client=client, body=CreateFlow(name="Faulty", definition="nodes: {}"))
missing = get_execution.sync_detailed("exec-1", client=client)
assert isinstance(faulty, ErrorAnswer)
assert isinstance(missing.parsed, ErrorAnswer)
print(
    json.dumps(
        {
            "status": str(run.status),
            "result": run.result,
            "schema": [schema.schema, "nodes" in schema.properties, schema["additionalProperties"]],
            "steps": [[step.node_id, str(step.status)] for step in steps.steps],
            "fault": [fault.path for fault in faulty.error.details.errors],
            "missing": [missing.status_code, missing.parsed.error.code, missing.parsed.error.docs],
        }
    )
)
