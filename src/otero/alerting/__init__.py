"""Alertmanager inside: alerts come in, are grouped, held back or sent, and every decision is recorded.

inbox ─▶ route ─▶ dispatch (groups) ─▶ inhibit, silences, times ─▶ pipeline ─▶ notify/<receiver>
                                                                      │
                                                            notification log, ledger
"""
