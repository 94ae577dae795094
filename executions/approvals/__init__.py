"""Decisions of people about tool calls, for which runs wait (docs/approvals.md).

A run that requests such calls stores them as `Approval` rows, takes the status `requires_action` and has no
process any more (`executions.records`). `services` decides, continues the run in a worker, and ends it when
there is no decision in time.
"""
