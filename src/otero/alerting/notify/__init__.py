"""Receivers: one file each, with the shape of its configuration and how it is sent."""
