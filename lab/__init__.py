"""Local clouds, their providers and an embedded engine."""
