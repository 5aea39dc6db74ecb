"""The Pulumi program: settings, providers, composition, outputs."""
