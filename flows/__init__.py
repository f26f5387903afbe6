"""Orchestration: what runs the stages, and the command line."""
