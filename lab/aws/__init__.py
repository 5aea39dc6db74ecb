"""The AWS half of the lab."""
