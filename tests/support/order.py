"""The order of the test files of a run.

Each process of a run takes the next file when it has ended one. While many of them wait, cores are idle; while none
does, all compute in each other's way, and what is long at the end keeps one process alone. So the files that mostly
wait are spread over the run, and among them, as among the others, the longest come first.
"""

from collections.abc import Mapping, Sequence
from typing import Final

# About the seconds of the files that take longest in a run of a few processes on two cores. Nothing but the order
# follows from them: they need not be exact, and a file that is not here is one of the short ones.
MOSTLY_WAITING: Final[Mapping[str, int]] = {
    "web/test_browser.py": 187, "scenarios/test_cluster.py": 130, "web/test_editor.py": 100,
    "web/test_execution_screen.py": 100, "security/test_sandbox.py": 98, "scenarios/test_chaos_on_postgres.py": 93,
    "scenarios/test_engine_processes.py": 81, "scenarios/test_shared_keys.py": 74, "scenarios/test_backups.py": 70,
    "api/test_hooks.py": 66, "web/test_build.py": 55, "cli/test_other_commands.py": 50, "scenarios/test_cuts.py": 47,
    "scenarios/test_killed_agents.py": 45, "scenarios/test_store_under_load.py": 40, "scenarios/test_stopping.py": 38,
    "scenarios/test_killed_increments.py": 35, "web/test_settings.py": 35, "web/test_lists.py": 33,
    "scenarios/test_chaos_on_processes.py": 29, "web/test_requests.py": 28, "web/test_logins.py": 27,
    "scenarios/test_chaos_on_sqlite.py": 27, "scenarios/test_killed_deliveries.py": 27, "security/test_secrets.py": 21,
    "web/test_dialogs.py": 20,
}  # fmt: skip
MOSTLY_COMPUTING: Final[Mapping[str, int]] = {
    "security/test_loop_iterations.py": 120, "engine/test_crashes.py": 105, "scenarios/test_chaos_on_temporal.py": 87,
    "language/test_rules.py": 65, "scenarios/test_two_versions.py": 60, "api/test_hostile_input.py": 60,
    "security/test_sessions.py": 54, "scenarios/test_standby.py": 52, "security/test_connections_in_every_state.py": 51,
    "security/test_password_queue.py": 48, "sandbox/test_pool.py": 47,
    "generated_clients/test_generated_clients.py": 45, "scenarios/test_jobs.py": 45, "docs/test_cli_pages.py": 43,
    "dispatch/test_temporal.py": 41, "scenarios/test_mutants.py": 38, "dispatch/test_local_advances.py": 34,
    "security/test_rotation.py": 34, "language/test_rules_on_postgresql.py": 32, "scenarios/test_collecting.py": 32,
    "scenarios/test_starting.py": 30, "security/test_workspace_matrix.py": 30,
    "cli/test_flow_tests_match_a_server.py": 30, "security/test_fuzz.py": 30, "cli/test_running_here.py": 30,
    "upgrades/test_stored_installation.py": 29, "otel/test_export.py": 27, "storage/test_journal.py": 26,
    "language/test_rules_on_temporal.py": 25, "engine/test_crashes_on_postgresql.py": 25, "cli/test_schema.py": 25,
    "storage/test_long_executions.py": 23, "storage/test_execution_search.py": 23, "scenarios/test_schedules.py": 23,
    "storage/test_migrations.py": 23, "storage/test_postgres_outages.py": 21, "storage/test_several_processes.py": 20,
    "cli/test_execution_commands.py": 20, "security/test_audit.py": 20, "security/test_limits_of_requests.py": 20,
    "cli/test_import.py": 20, "cli/test_logins.py": 20, "cli/test_testing_flows.py": 20,
}  # fmt: skip
_SHORT: Final = 2


def arranged(files: Sequence[str]) -> list[str]:
    """Return these files, which are named as above, in the order in which to run them."""
    waiting = sorted((file for file in files if file in MOSTLY_WAITING), key=lambda file: -MOSTLY_WAITING[file])
    others = sorted(
        (file for file in files if file not in MOSTLY_WAITING), key=lambda file: -MOSTLY_COMPUTING.get(file, _SHORT)
    )
    of_waiting = sum(MOSTLY_WAITING[file] for file in waiting)
    of_others = sum(MOSTLY_COMPUTING.get(file, _SHORT) for file in others)
    order: list[str] = []
    waited = computed = 0
    for file in others:
        # As much of one kind as of the other.
        while waiting and waited * of_others <= computed * of_waiting:
            waited += MOSTLY_WAITING[waiting[0]]
            order.append(waiting.pop(0))
        computed += MOSTLY_COMPUTING.get(file, _SHORT)
        order.append(file)
    return order + waiting
