"""Upstreams: who they are, how they speak, how they fail, and which of them serves a call."""
