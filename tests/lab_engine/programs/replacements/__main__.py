"""Both orders of replacement, cascades over dependents, a replaced provider."""

import os

import pulumi
from pulumi import ResourceOptions

phase = int(os.environ["PHASE"])


class Thing(pulumi.CustomResource):
    out: pulumi.Output[str]

    def __init__(self, name, props, opts=None):
        super().__init__("file:index:Thing", name, {"out": None, **props}, opts)


after = Thing("after", {"r1": phase, "v": 1})
Thing("updated", {"v": after.out, "secret": pulumi.Output.secret("hush")})
Thing("cascaded", {"r2": after.id})
before = Thing("before", {"r1": phase, "dbr": True})
Thing("deleted-first", {"r2": before.id})
Thing("ordered", {"v": 1}, ResourceOptions(depends_on=[before]))
provider = pulumi.ProviderResource("file", "own", {"region": f"r{phase}"})
Thing("of-provider", {"v": 1}, ResourceOptions(provider=provider))
pulumi.export("out", after.out)
pulumi.export("nested", {"open": 1, "hidden": pulumi.Output.secret(2)})
