"""Assembly of the commands that need no server: read flows, run their tests, run one flow.

Only this package and `bootstrap` import the adapters. It imports neither the API nor the database. Reading flows also
works without the engine, which cuts the start time to a third.
"""
