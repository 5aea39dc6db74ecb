"""The policy pack: rules for training stacks."""
