"""What a policy asks of a token beside its repository, its workflow and its environment. Nothing here is decided by it: what a
token has to say is the reader's business. It is carried from the registration into the view.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, TypedDict, cast

Binds: TypeAlias = Literal["job", "caller"]


class ViewConditions(TypedDict, total=False):
    """As a view has them: each is there only where the policy asks for it."""

    refs: list[str]
    ref_protected: bool
    workflow_binds: Binds
    called_workflow: str
    runner: str
    events: list[str]
    packages: list[str]
    actions: list[str]
    issuer: str


class RegisteredConditions(NamedTuple):
    """As a registration has them. Nothing is asked where one is empty, false or None."""

    refs: tuple[str, ...] = ()
    """Patterns of the ref that a run was started for."""
    ref_protected: bool = False
    workflow_binds: Binds | None = None
    """Whether the workflow file is the job's, or the one that the run began with; None: as the installation has it."""
    called_workflow: str | None = None
    """`owner/name/.github/workflows/file.yml`, with `@` and a pattern of its refs if one is wanted; or `*`."""
    runner: str | None = None
    events: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    """Patterns of the names of packages, in the registry's words, and so are the actions."""
    actions: tuple[str, ...] = ()
    issuer: str | None = None
    """The alias of the instance of GitHub whose token it is, and whose ids the registration has; None: the default one."""


NOTHING = RegisteredConditions()
NAMES = RegisteredConditions._fields


def written(asked: RegisteredConditions) -> ViewConditions:
    """What is asked, and no member for what is not."""
    found = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asked._asdict().items() if value
    }
    return cast("ViewConditions", found)


def read(conditions: ViewConditions) -> RegisteredConditions:
    """The reverse of `written`."""
    return RegisteredConditions(**{name: tuple(v) if isinstance(v, list) else v for name, v in conditions.items()})  # type: ignore[arg-type]
