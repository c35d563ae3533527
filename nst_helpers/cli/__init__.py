"""The command line `python -m nst_helpers`: options, interruptions, what is said, and the run.

`parser` reads the options and needs no torch, `interrupts` turns Ctrl-C into a saved picture, `messages` speaks through
any terminal, `places` finds the pictures and tries the places to write to, `info` describes this machine for a bug
report, and `paint` calls `stylize`.
"""
