"""What a process keeps when it stops being the active server."""

import gc

from flowrunner.bootstrap.interpreter import frozen_gc


def test_a_server_that_steps_down_leaves_nothing_out_of_the_collector() -> None:
    # What was collected as tests is left out.
    gc.unfreeze()
    threshold = gc.get_threshold()

    for _ in range(2):
        with frozen_gc():
            assert gc.get_freeze_count() > 0

        assert gc.get_freeze_count() == 0
        assert gc.get_threshold() == threshold
