"""Resource providers for the lab, by package."""
