"""Engines in processes of their own, and the pipes between."""
