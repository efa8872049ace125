"""All use cases that the API receives, in groups by their subject."""

from dataclasses import dataclass
from typing import Self

from flowrunner.services.accounts import Accounts
from flowrunner.services.approval_links import LinkedApprovals
from flowrunner.services.approvals import Approvals
from flowrunner.services.audit import AuditLog
from flowrunner.services.backfills import Backfills
from flowrunner.services.bulk_executions import BulkExecutions
from flowrunner.services.bulk_signals import BulkSignals
from flowrunner.services.callback_deliveries import CallbackDeliveries
from flowrunner.services.callbacks import Callbacks
from flowrunner.services.chains import Chains
from flowrunner.services.command_logins import CommandLogins
from flowrunner.services.configuration import Configuration
from flowrunner.services.email_confirmations import EmailConfirmations
from flowrunner.services.execution_records import ExecutionRecords
from flowrunner.services.executions import Executions
from flowrunner.services.exports import WorkspaceExports
from flowrunner.services.flow_batches import FlowBatches
from flowrunner.services.flow_moves import FlowMoves
from flowrunner.services.flow_tests import FlowTests
from flowrunner.services.flows import Flows
from flowrunner.services.hook_deliveries import HookDeliveries
from flowrunner.services.hook_refusals import RefusedHooks
from flowrunner.services.hook_senders import HookSenders
from flowrunner.services.hooks import IncomingHooks
from flowrunner.services.identities import Identities
from flowrunner.services.invitation_links import InvitationLinks
from flowrunner.services.invitations import Invitations
from flowrunner.services.jobs import Jobs
from flowrunner.services.keys import KeyRotations
from flowrunner.services.known_callers import KnownCallers
from flowrunner.services.language import Language
from flowrunner.services.logins import Logins
from flowrunner.services.node_trials import NodeTrialService
from flowrunner.services.outgoing_mails import OutgoingMails
from flowrunner.services.overview import Overviews
from flowrunner.services.password_resets import PasswordResets
from flowrunner.services.pause import Pause
from flowrunner.services.preferences import Preferences
from flowrunner.services.rates import Rates
from flowrunner.services.request_keys import RequestKeys
from flowrunner.services.reruns import Reruns
from flowrunner.services.retention import Retention
from flowrunner.services.schedules import Schedules
from flowrunner.services.second_factor_logins import SecondFactorLogins
from flowrunner.services.second_factors import SecondFactors
from flowrunner.services.secrets import Secrets
from flowrunner.services.sessions import Sessions
from flowrunner.services.sign_on import SignOn
from flowrunner.services.signals import Signals
from flowrunner.services.step_params import StepParams
from flowrunner.services.steps import Steps
from flowrunner.services.store import StoreEntries
from flowrunner.services.system import System
from flowrunner.services.tokens import Tokens
from flowrunner.services.triggers import Triggers
from flowrunner.services.workspaces import Workspaces


@dataclass(frozen=True, kw_only=True)
class LoginServices:
    """The ways to log in, and what they give."""

    sessions: Sessions
    known_callers: KnownCallers
    logins: Logins
    tokens: Tokens
    second_factors: SecondFactors
    second_factor_logins: SecondFactorLogins
    sign_on: SignOn
    identities: Identities
    command_logins: CommandLogins
    password_resets: PasswordResets
    email_confirmations: EmailConfirmations
    outgoing_mails: OutgoingMails


@dataclass(frozen=True, kw_only=True)
class AccountServices:
    """Accounts, workspaces, and what belongs to a workspace as a whole."""

    preferences: Preferences
    audit: AuditLog
    accounts: Accounts
    workspaces: Workspaces
    invitations: Invitations
    invitation_links: InvitationLinks
    exports: WorkspaceExports
    secrets: Secrets
    configuration: Configuration
    store: StoreEntries
    keys: KeyRotations


@dataclass(frozen=True, kw_only=True)
class FlowServices:
    """Flows, their language and their tests."""

    language: Language
    flows: Flows
    flow_batches: FlowBatches
    moves: FlowMoves
    flow_tests: FlowTests
    node_trials: NodeTrialService


@dataclass(frozen=True, kw_only=True)
class ExecutionServices:
    """Executions, their steps, and the answers that they wait for."""

    executions: Executions
    reruns: Reruns
    records: ExecutionRecords
    signals: Signals
    linked_approvals: LinkedApprovals
    approvals: Approvals
    steps: Steps
    step_params: StepParams
    overviews: Overviews


@dataclass(frozen=True, kw_only=True)
class TriggerServices:
    """Starts of flows without a caller."""

    triggers: Triggers
    schedules: Schedules
    chains: Chains
    hook_senders: HookSenders
    hooks: IncomingHooks
    hook_deliveries: HookDeliveries
    refused_hooks: RefusedHooks


@dataclass(frozen=True, kw_only=True)
class JobServices:
    """Changes of many executions, most of them in the background."""

    jobs: Jobs
    bulk: BulkExecutions
    bulk_signals: BulkSignals
    backfills: Backfills


@dataclass(frozen=True, kw_only=True)
class CallbackServices:
    """Notifications that are sent when executions end or wait."""

    callbacks: Callbacks
    callback_deliveries: CallbackDeliveries


@dataclass(frozen=True, kw_only=True)
class OperationServices:
    """Limits of requests, and the operation of the installation."""

    rates: Rates
    request_keys: RequestKeys
    pause: Pause
    retention: Retention
    system: System


@dataclass(frozen=True, kw_only=True)
class Services(
    LoginServices,
    AccountServices,
    FlowServices,
    ExecutionServices,
    TriggerServices,
    JobServices,
    CallbackServices,
    OperationServices,
):
    @classmethod
    def of(
        cls,
        *,
        logins: LoginServices,
        accounts: AccountServices,
        flows: FlowServices,
        executions: ExecutionServices,
        triggers: TriggerServices,
        jobs: JobServices,
        callbacks: CallbackServices,
        operation: OperationServices,
    ) -> Self:
        """Return the services of all groups."""
        groups = (logins, accounts, flows, executions, triggers, jobs, callbacks, operation)
        return cls(**{name: service for group in groups for name, service in vars(group).items()})
