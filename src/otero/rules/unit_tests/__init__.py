"""Unit tests of rules, in promtool's format.

file     the shape of test files
series   their input series, written as time goes on
run      the server's own rules over samples in memory
compare  what was expected and what came
"""
