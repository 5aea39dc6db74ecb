"""Serves the rules to Pulumi's engine: ``pulumi preview --policy-pack policy``."""

from __future__ import annotations

import re

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

from policy.rules import RULES, Resource, Rule, Settings


def _policy(rule: Rule) -> Policy:
    schema = PolicyConfigSchema(properties={k: dict(v) for k, v in rule.schema.items()})
    level = EnforcementLevel(rule.level)
    description = f"{rule.why} {rule.fix}"
    if rule.check is not None:
        return ResourceValidationPolicy(
            name=rule.id,
            description=description,
            enforcement_level=level,
            config_schema=schema if rule.schema else None,
            validate=_resource_validation(rule),
        )
    return StackValidationPolicy(
        name=rule.id,
        description=description,
        enforcement_level=level,
        config_schema=schema if rule.schema else None,
        validate=_stack_validation(rule),
    )


def _resource_validation(rule: Rule):
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        resource = Resource(
            type=_type(args.resource_type), name=args.name, urn=args.urn, props=args.props
        )
        assert rule.check is not None  # noqa: S101 - _policy chose this function for it
        for problem in rule.check(resource, _settings(rule, args)):
            report(f"{args.name} {problem}", args.urn)

    return validate


def _stack_validation(rule: Rule):
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        resources = [
            Resource(type=_type(r.resource_type), name=r.name, urn=r.urn, props=r.props)
            for r in args.resources
        ]
        assert rule.check_stack is not None  # noqa: S101 - _policy chose this function for it
        for resource, problem in rule.check_stack(resources, _settings(rule, args)):
            name = resource.name if resource else "the stack"
            report(f"{name} {problem}", resource.urn if resource else None)

    return validate


def _settings(rule: Rule, args: ResourceValidationArgs | StackValidationArgs) -> Settings:
    configured = args.get_config() if rule.schema else {}
    return Settings({**rule.settings, **(configured or {})})


def _type(token: str) -> str:
    """Drop the API version of an azure-native type."""
    return re.sub(r"[/_]v\d{8}(preview|privatepreview)?(?=:)", "", token)


PolicyPack(name="trainstack", policies=[_policy(rule) for rule in RULES])
