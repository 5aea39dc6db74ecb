"""Pulumi components: they create, and never read configuration."""
