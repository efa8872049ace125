"""Protocols of everything the core needs from outside; `bootstrap` connects the adapters that implement them.

Each name is imported from the module that defines it.
"""
