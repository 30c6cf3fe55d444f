"""Rules: groups of recording and alerting rules, evaluated at their interval.

config     rule files, read and checked
template   the function set of labels and annotations
alerting   an alerting rule as a pure state machine; recording, a recording rule
group      the rules of one group, in the order of what they read and write
scheduler  every group at its time, on threads of their own
"""
