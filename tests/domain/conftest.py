"""Settings of the property tests."""

from hypothesis import settings

# No deadline: the machine may be under load. No database: no files are left in the tree.
settings.register_profile("flowrunner", deadline=None, database=None)
settings.load_profile("flowrunner")
