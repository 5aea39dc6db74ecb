"""What a refresh finds is what the next run starts from."""

import os

import pulumi
from pulumi import ResourceOptions

phase = int(os.environ["PHASE"])


class Thing(pulumi.CustomResource):
    out: pulumi.Output[str]

    def __init__(self, name, props, opts=None):
        super().__init__("file:index:Thing", name, {"out": None, **props}, opts)


first = Thing("first", {"v": 1})
Thing("second", {"v": first.out, "secret": pulumi.Output.secret("x")})
if phase == 0:
    Thing("ignoring", {"v": {"q": 1}}, ResourceOptions(ignore_changes=["v.q"]))
pulumi.export("out", first.out)
