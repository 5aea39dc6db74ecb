"""Dated prices, and what a job or a stack costs at worst."""
