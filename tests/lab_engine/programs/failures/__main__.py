"""A create that fails, with what needs it and what does not; then it is mended."""

import os

import pulumi

phase = int(os.environ["PHASE"])


class Thing(pulumi.CustomResource):
    out: pulumi.Output[str]

    def __init__(self, name, props):
        super().__init__("file:index:Thing", name, {"out": None, **props})


first = Thing("first", {"v": 1})
failing = Thing("failing", {"v": first.out, "fail": "create" if phase == 0 else "no"})
Thing("needs-it", {"v": failing.out})
other = Thing("other", {"v": first.out})
pulumi.export("other", other.out)
