"""Runs the engine as a child process, in a sandbox, and finds the programs it needs."""
