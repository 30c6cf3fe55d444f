"""Instrumentation for applications that Otero, or any Prometheus and OTLP receiver, observes.

from otero_sdk import instrument

instrument(app, service="orders")
"""

from importlib.metadata import version

from otero_sdk import correlation, metrics
from otero_sdk.application import instrument
from otero_sdk.health import Health, HealthChecks

__version__ = version("otero-sdk")
__all__ = ["Health", "HealthChecks", "correlation", "instrument", "metrics"]
