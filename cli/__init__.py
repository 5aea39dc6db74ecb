"""The ``trainstack`` command: one module a verb."""
