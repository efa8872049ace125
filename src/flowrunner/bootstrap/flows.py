"""The services around flows, and their assembly."""

from flowrunner.bootstrap.engine import EngineParts
from flowrunner.bootstrap.resources import Resources
from flowrunner.bootstrap.test_process import TestProcesses
from flowrunner.engine.trial import EngineTrials
from flowrunner.services.bundle import FlowServices
from flowrunner.services.flow_batches import FlowBatches
from flowrunner.services.flow_moves import FlowMoves
from flowrunner.services.flow_tests import FlowTests
from flowrunner.services.flows import Flows
from flowrunner.services.language import Language
from flowrunner.services.node_trials import NodeTrialService
from flowrunner.storage.flow_moves import SqlFlowMoves


def assemble_flows(opened: Resources, engine: EngineParts) -> FlowServices:
    stores, stored, clock = opened.stores, opened.stored, opened.clock
    usage, limits = stores.usage, engine.limits
    # Links of approvals have the address of the server.
    has_links = opened.settings.public_url is not None
    language = Language(engine.specs, opened.schemas, engine.deps.sandbox, has_links=has_links)
    flows = Flows(stores.flows, stored.secrets, stores.config, language, clock, usage=usage, limits=limits)
    return FlowServices(
        language=language,
        flows=flows,
        flow_batches=FlowBatches(flows, stores.flows, clock, usage=usage, limits=limits),
        moves=FlowMoves(SqlFlowMoves(stored.database), flows, clock, limits=limits),
        flow_tests=FlowTests(language, TestProcesses()),
        node_trials=NodeTrialService(
            language,
            EngineTrials(engine.deps),
            config=stores.config,
            pause=stores.pause,
            audit=stores.audit,
            clock=clock,
        ),
    )
