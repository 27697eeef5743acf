"""What observations are about, and in which part of the store it lives.

A scope is a short text, unambiguous because every free part of it is percent-encoded:

    policy:<policy id>                          what its owner, the exchange or an operator said of one policy
    owner:<owner id>                            a GitHub user or organisation
    repository:<owner id>:<repository id>       a repository, in that owner's hands
    unbound:<owner id>:<repository name>        whatever repository has that name, for policies with no id yet
    name:<owner id>:<repository name>           which ids have held that name, for policies with an id
    member:<owner id>:<user id>                 a user's membership of an organisation
    collaborator:<user id>:<repository scope>   a user's direct access to a repository
    account:<account>                           an account of the registry, user or organisation
    workflow:<file>:<repository scope>          a workflow file of a repository
    environment:<name>:<repository scope>       a deployment environment of a repository
    refs:<pattern>:<repository scope>           refs of a repository that a policy names
    package-member:<account>:<account scope>    an account's membership of a package owner
    called:<login>/<repository name>            a repository of any owner, by the address that a reusable workflow has
    called-owner:<login>                        the owner of such repositories, by login

An owner id is written as `owners` has it: `600613`, and `ghes/600613` at another instance of GitHub than the default one. A
login stands likewise after the alias of another instance: `called:ghes/<login>/<repository name>`.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from worker.lifecycle.owners import DEFAULT, OwnerRef, owner_from

_FOUND_THROUGH = ("collaborator:", "workflow:", "environment:", "refs:", "package-member:")
_ANYWHERE = frozenset({"policy", "account", "called", "called-owner"})
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+").fullmatch


def _quoted(text: str) -> str:
    # Nearly every name is plain, and this is asked some twenty times an event.
    return text if _PLAIN(text) else quote(text, safe="")


def policy(policy_id: str) -> str:
    return f"policy:{_quoted(policy_id)}"


def owner(owner_id: OwnerRef) -> str:
    return f"owner:{owner_id}"


def repository(owner_id: OwnerRef, repository_id: int) -> str:
    return f"repository:{owner_id}:{repository_id}"


def name(owner_id: OwnerRef, repository_name: str) -> str:
    return f"name:{owner_id}:{_quoted(repository_name.lower())}"


def is_name(scope: str) -> bool:
    """Whether it is about who has held a name."""
    return scope.startswith("name:")


def unbound(owner_id: OwnerRef, repository_name: str) -> str:
    return f"unbound:{owner_id}:{_quoted(repository_name.lower())}"


def member(owner_id: OwnerRef, user_id: int) -> str:
    return f"member:{owner_id}:{user_id}"


def collaborator(repository_scope: str, user_id: int) -> str:
    """`repository_scope` is a `repository:` or `unbound:` scope."""
    return f"collaborator:{user_id}:{repository_scope}"


def workflow(repository_scope: str, file: str) -> str:
    """`repository_scope` is a `repository:`, `unbound:` or `called:` scope, `file` below `.github/workflows/`."""
    return f"workflow:{_quoted(file)}:{repository_scope}"


def environment(repository_scope: str, environment_name: str) -> str:
    """`repository_scope` is a `repository:` or `unbound:` scope. GitHub's names of environments know no letter case."""
    return f"environment:{_quoted(environment_name.lower())}:{repository_scope}"


def refs(repository_scope: str, pattern: str) -> str:
    """`repository_scope` is a `repository:` or `unbound:` scope, `pattern` one of the policy's `refs`."""
    return f"refs:{_quoted(pattern)}:{repository_scope}"


def account(account_name: str) -> str:
    return f"account:{_quoted(account_name)}"


def called(login: str, repository_name: str, issuer: str = DEFAULT) -> str:
    return f"called:{_login_at(issuer, login)}/{_quoted(repository_name.lower())}"


def called_owner(login: str, issuer: str = DEFAULT) -> str:
    return f"called-owner:{_login_at(issuer, login)}"


def _login_at(issuer: str, login: str) -> str:
    quoted = _quoted(login.lower())
    return quoted if issuer == DEFAULT else f"{issuer}/{quoted}"


def package_member(package_owner: str, account_name: str) -> str:
    return f"package-member:{_quoted(account_name)}:{account(package_owner)}"


def policy_id_of(scope: str) -> str | None:
    """The policy id of a `policy:` scope, None for any other."""
    kind, _, rest = scope.partition(":")
    return unquote(rest) if kind == "policy" else None


def owner_id_of(scope: str) -> OwnerRef | None:
    """The GitHub owner in whose partition a scope lies, None for policies, the registry's accounts and what is known by a
    login: the policies concerned may be in any partition.
    """
    scope = index_of(scope)
    kind, _, rest = scope.partition(":")
    if kind in _ANYWHERE:
        return None
    return owner_from(rest.partition(":")[0])


def user_id_of(scope: str) -> int | None:
    """The user of a `member:` scope, None for any other."""
    kind, _, rest = scope.partition(":")
    return int(rest.split(":")[1]) if kind == "member" else None


def index_of(scope: str) -> str:
    """The scope by which the policies concerned are found; for most scopes, itself.

    Access to a repository, its workflows, environments and refs are found through the repository, membership of a package owner through
    that owner.
    """
    return scope.partition(":")[2].partition(":")[2] if scope.startswith(_FOUND_THROUGH) else scope


def keeper_of(scope: str) -> str:
    """Under whom an observation is kept for policies that come later: the GitHub owner it belongs to, or else itself.

    Whatever is kept under one keeper is bounded together, so no owner takes more room by naming more things.
    """
    kind, _, rest = index_of(scope).partition(":")
    if kind == "called":
        return f"called-owner:{rest.rpartition('/')[0]}"
    return scope if kind in _ANYWHERE else f"owner:{rest.partition(':')[0]}"
