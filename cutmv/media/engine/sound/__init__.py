"""Copies, decodes and encodes the sound of a clip."""
