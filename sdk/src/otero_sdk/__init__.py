"""Instrumentation for applications that Otero observes."""

from importlib.metadata import version

__version__ = version("otero-sdk")
