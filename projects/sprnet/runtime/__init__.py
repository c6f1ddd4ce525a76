"""Hooks, data and metrics that would serve any detector."""
