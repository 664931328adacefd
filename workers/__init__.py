"""Processes: the only place where parts are wired and configuration is read."""
