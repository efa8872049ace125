"""Builds what works without a server: reading flows, running their tests, running one flow.

Only this and `bootstrap` see the adapters. It leaves out the API and the database, and what reads flows leaves out
the engine too: it starts in a third of the time.
"""
