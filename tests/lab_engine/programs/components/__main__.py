"""Components, renamed with their children, and what depends on them."""

import os

import pulumi
from pulumi import ResourceOptions

phase = int(os.environ["PHASE"])


class Thing(pulumi.CustomResource):
    out: pulumi.Output[str]

    def __init__(self, name, props, opts=None):
        super().__init__("file:index:Thing", name, {"out": None, **props}, opts)


class Group(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("my:index:Group", name, None, opts)
        child = Thing(f"{name}-child", {"v": 1}, ResourceOptions(parent=self))
        self.register_outputs({"child": child.out})


aliases = [pulumi.Alias(name="group")] if phase else []
group = Group("renamed" if phase else "group", ResourceOptions(aliases=aliases))
Thing("after", {"v": phase}, ResourceOptions(depends_on=[group]))
