"""The whole observability stack of a DevOps team in one process."""

from importlib.metadata import version

__version__ = version("otero")
