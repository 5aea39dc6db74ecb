"""Options that change what happens to a resource."""

import os

import pulumi
from pulumi import ResourceOptions

phase = int(os.environ["PHASE"])


class Thing(pulumi.CustomResource):
    out: pulumi.Output[str]

    def __init__(self, name, props, opts=None):
        super().__init__("file:index:Thing", name, {"out": None, **props}, opts)


if phase < 2:
    Thing(
        "ignoring",
        {"v": phase, "map": {"x": phase, "y": [phase, 2]}, "all": {"q": phase}},
        ResourceOptions(ignore_changes=["v", "map.x", "map.y[0]", "all.*"]),
    )
    container = Thing("replaced", {"w": phase, "z": 1}, ResourceOptions(replace_on_changes=["w"]))
    Thing("retained", {"w": phase}, ResourceOptions(retain_on_delete=True))
    Thing("content", {"w": 1}, ResourceOptions(deleted_with=container))
    Thing(
        "timed",
        {"w": 1},
        ResourceOptions(
            additional_secret_outputs=["out"],
            custom_timeouts=pulumi.CustomTimeouts(create="5m", update="1h30m", delete="7s"),
        ),
    )
    Thing("compared", {"unsure": True, "w": phase, "list": [1, phase], "map": {"a": phase}})
if phase == 3:
    Thing("taken", {"w": 2}, ResourceOptions(import_="retained-0"))
