"""Hosts that stay on Phase 1."""

phase = 1
