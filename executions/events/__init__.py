"""Events of runs, in the vocabulary of the Open Responses specification (release 2026-04-24).

`items` makes the events of output items, `recording` stores those of a run in progress, `reading` returns the
events of any execution, and `stream` sends them to a client. The first and the last events of a run are not
stored: they follow from the execution.
"""
