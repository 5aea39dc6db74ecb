"""Settings that both clouds share, and the types their models are made of.

Nothing here reads configuration: infra/settings.py does. A validator's message completes the
sentence ``<key> is <value> in stack <stack>; ...``, so it says what is allowed: ``it must be ...``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PositiveFloat,
    WithJsonSchema,
)
from pydantic_core import core_schema

from components.naming import NameScope, NameTooLongError
from components.tags import MAX_TAGS, check_tag, stack_tags

MINUTE_SECONDS = 60
HOUR_SECONDS = 3600
DAY_SECONDS = 86_400

_DURATION_UNITS = {"s": 1, "m": MINUTE_SECONDS, "h": HOUR_SECONDS, "d": DAY_SECONDS}
_DURATION = re.compile(r"(\d{1,6})(s|m|h|d)")


class SettingsModel(BaseModel):
    """Base of every settings model: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with the settings that a single field cannot see.

    ``location`` is the path below the cloud's section (``("network", "subnets", 1)``); ``message``
    completes ``<key> is <value>; ...``.
    """

    location: tuple[str | int, ...]
    value: Any
    message: str


def below(section: str, problems: Iterator[Problem]) -> Iterator[Problem]:
    """Yield a section's own problems as its parent's."""
    for problem in problems:
        yield replace(problem, location=(section, *problem.location))


def repeated(
    at: tuple[str | int, ...], values: Sequence[Hashable], *, key: str | None = None
) -> Iterator[Problem]:
    """Yield a problem for each value of a list that stands there before.

    ``at`` is the list; ``key`` names the values' field where its items are mappings.
    """
    seen = set()
    for index, value in enumerate(values):
        if value in seen:
            yield Problem(
                location=(*at, index) if key is None else (*at, index, key),
                value=":".join(map(str, value)) if isinstance(value, tuple) else value,
                message="it must be there once only",
            )
        seen.add(value)


def misfit(
    location: tuple[str | int, ...], value: Any, name: Callable[[], str]
) -> Iterator[Problem]:
    """Yield a problem where a value's physical name, which ``name`` makes, is too long."""
    try:
        name()
    except NameTooLongError as error:
        yield Problem(location=location, value=value, message=f"it must be shorter: {error}")


def _email(value: str) -> str:
    # Delivery alone proves an address; this catches what is none: no @, no domain, two in one.
    if len(value) > 254 or not re.fullmatch(
        r"[^@\s,;<>]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", value
    ):
        raise ValueError("it must be one e-mail address, such as ml-team@example.com")
    return value


def _cidr(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise ValueError(f"it must be an IPv4 range such as 10.20.0.0/16 ({error})") from None
    if not network.is_private:
        raise ValueError(
            "it must be a private range: in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
        )
    return value


def _tags(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_TAGS:
        raise ValueError(f"it must have at most {MAX_TAGS} tags")
    stack_tags(project="", stack="", environment="", owner="", extra=value)
    return value


def _tag_value(value: str) -> str:
    check_tag("owner", value)
    return value


@dataclass(frozen=True)
class matching:  # lower case: it reads as part of an annotation, like Field
    """A whole string of a regular expression; ``allowed`` completes ``it must be ...``."""

    pattern: str
    allowed: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        described = handler(schema)
        # Editors read JavaScript's expressions, which have no flags inside.
        return (
            described if "(?i)" in self.pattern else described | {"pattern": f"^({self.pattern})$"}
        )

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"it must be {self.allowed}")
        return value


def duration(minimum_seconds: int, maximum_seconds: int) -> BeforeValidator:
    """Return a validator that turns ``90s``, ``5m``, ``2h``, ``1d`` or seconds into seconds."""
    message = (
        f"it must be a duration of {_written(minimum_seconds)} to {_written(maximum_seconds)}, "
        "such as 90s, 5m, 2h or 1d"
    )

    def parse(value: Any) -> int:
        if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
            value = int(match[1]) * _DURATION_UNITS[match[2]]
        is_seconds = isinstance(value, int) and not isinstance(value, bool)
        if not is_seconds or not minimum_seconds <= value <= maximum_seconds:
            raise ValueError(message)
        return value

    return BeforeValidator(parse)


def _written(seconds: int) -> str:
    for unit in ("d", "h", "m"):
        if seconds % _DURATION_UNITS[unit] == 0:
            return f"{seconds // _DURATION_UNITS[unit]}{unit}"
    return f"{seconds}s"


DURATION_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "string", "pattern": r"^\d{1,6}[smhd]$"}, {"type": "integer"}]}
)
Email = Annotated[str, AfterValidator(_email)]
PrivateCidr = Annotated[str, AfterValidator(_cidr)]
# The name of a thing within the stack: a compute cluster, a repository, a role.
ShortName = Annotated[
    str,
    matching(
        r"[a-z](-?[a-z0-9]){1,23}",
        "2-24 lower case letters, digits and single dashes, from a letter on, such as cpu-small",
    ),
]


class BudgetSettings(SettingsModel):
    """A monthly budget. It alerts; neither cloud stops anything by it."""

    monthly_usd: PositiveFloat = Field(description="Budget for a calendar month, in US dollars.")
    alert_percentages: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        default=(50, 80, 100),
        min_length=1,
        max_length=5,
        description="Mail is sent when the month's cost passes each of these percentages.",
    )
    contacts: tuple[Email, ...] = Field(
        default=(), max_length=10, description="Who is mailed. Empty: the stack's contacts."
    )

    def problems(self, common: CommonSettings) -> Iterator[Problem]:
        """Yield that nobody would be mailed, where that is so."""
        if not (self.contacts or common.contacts):
            message = "it must name whom to mail, here or in the stack's contacts"
            yield Problem(location=("contacts",), value=[], message=message)


class CommonSettings(SettingsModel):
    """What holds for the whole stack, on either cloud."""

    project: Annotated[
        str,
        matching(r"[a-z][a-z0-9]{1,15}", "2-16 lower case letters and digits, from a letter on"),
    ]
    # 28: the stack's own longest names, such as its EventBridge rule's, still fit.
    stack: Annotated[
        str,
        matching(
            r"[A-Za-z0-9][A-Za-z0-9_.-]{0,27}",
            "1-28 letters, digits, dots, dashes or underscores, from a letter or digit on",
        ),
    ]
    environment: Annotated[
        str,
        matching(r"[a-z][a-z0-9]{1,11}", "2-12 lower case letters and digits, such as dev or prod"),
    ] = Field(
        description="What the stack is for: dev, test, prod. `prod` turns protections on.",
        examples=["dev"],
    )
    owner: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_tag_value)] = Field(
        description="The team or person who answers for the stack; a tag on every resource.",
        examples=["ml-platform@example.com"],
    )
    contacts: tuple[Email, ...] = Field(
        default=(), max_length=10, description="Who is mailed about budgets and failed jobs."
    )
    tags: Annotated[dict[str, str], AfterValidator(_tags)] = Field(
        default_factory=dict, description="More tags on every resource, on both clouds."
    )
    job_price_cap_usd: PositiveFloat | None = Field(
        default=None,
        description=(
            "The most that one job may cost at worst (price x instances x longest run), "
            "in US dollars; a job above it is refused at submit. Not given: no cap."
        ),
    )

    @property
    def is_production(self) -> bool:
        """Production keeps what it deletes: purge protection on, deletes of full stores refused."""
        return self.environment == "prod"

    @property
    def all_tags(self) -> Mapping[str, str]:
        """The stack's own tags and those from config."""
        return stack_tags(
            project=self.project,
            stack=self.stack,
            environment=self.environment,
            owner=self.owner,
            extra=self.tags,
        )

    def scope(self, *, account: str, region: str) -> NameScope:
        """Return what physical names are made from; account: AWS account or Azure subscription."""
        return NameScope(project=self.project, stack=self.stack, account=account, region=region)
