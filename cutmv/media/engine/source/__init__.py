"""Reads a source: its packets, its pictures, and the clip that is made of them."""
