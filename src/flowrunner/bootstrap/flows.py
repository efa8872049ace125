"""The services around flows, and their assembly."""

from flowrunner.bootstrap.engine import EngineParts
from flowrunner.bootstrap.stores import Stores
from flowrunner.bootstrap.test_process import TestProcesses
from flowrunner.clock import SystemClock
from flowrunner.engine.trial import EngineTrials
from flowrunner.schemas import RustSchemas
from flowrunner.services.bundle import FlowServices
from flowrunner.services.flow_batches import FlowBatches
from flowrunner.services.flow_moves import FlowMoves
from flowrunner.services.flow_tests import FlowTests
from flowrunner.services.flows import Flows
from flowrunner.services.language import Language
from flowrunner.services.node_trials import NodeTrialService
from flowrunner.storage.database import Database
from flowrunner.storage.flow_moves import SqlFlowMoves
from flowrunner.storage.secrets import SqlSecrets


def assemble_flows(
    database: Database,
    stores: Stores,
    engine: EngineParts,
    schemas: RustSchemas,
    *,
    secrets: SqlSecrets,
    clock: SystemClock,
    has_links: bool,
) -> FlowServices:
    """Return the services around flows. Args: has_links: The server has an address for the links of approvals."""
    usage, limits = stores.usage, engine.limits
    language = Language(engine.specs, schemas, engine.deps.sandbox, has_links=has_links)
    flows = Flows(stores.flows, secrets, stores.config, language, clock, usage=usage, limits=limits)
    return FlowServices(
        language=language,
        flows=flows,
        flow_batches=FlowBatches(flows, stores.flows, clock, usage=usage, limits=limits),
        moves=FlowMoves(SqlFlowMoves(database), flows, clock, limits=limits),
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
