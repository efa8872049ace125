"""Settings of the property tests."""

from hypothesis import settings

# No deadline: a machine under load is no fault of the code. No database: nothing is left in the tree.
settings.register_profile("flowrunner", deadline=None, database=None)
settings.load_profile("flowrunner")
