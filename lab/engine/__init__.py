"""The embedded engine: runs an unmodified Pulumi program and drives provider objects, without the Pulumi CLI.

It follows the algorithm of the real engine step by step, so that the same program and the same providers give the same
steps, provider calls and state under either. It talks to lab providers only.
"""
