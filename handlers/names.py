"""What people write for a repository, its owner and a workflow file, and what they mean by it.

What is clear is put right. What could never match, or would match more than was meant, is refused with the form that is
wanted; no message quotes what was given, since an address may hold a password.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

WORKFLOWS = ".github/workflows/"
"""Where GitHub looks for workflows, and not below that:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax"""

_REPOSITORY = re.compile(r"[A-Za-z0-9._-]{1,100}")
_LOGIN = re.compile(r"[A-Za-z0-9_-]{1,100}")
_SCP_FORM = re.compile(r"(?:[^/@]+@)?[^/:][^/:.]*\.[^/:]+:(?P<path>.*)")
"""`git@github.com:octo/widgets.git`. Only one dot can be the one that a host must have: else a text of dots would be tried
with each, and from each."""
_PAGES = frozenset({
    "actions", "blob", "branches", "commit", "commits", "discussions", "edit", "graphs", "issues", "network", "packages",
    "projects", "pull", "pulls", "pulse", "raw", "releases", "security", "settings", "tags", "tree", "wiki",
})  # fmt: skip
"""Pages of a repository, whose addresses people copy."""
_LISTS = frozenset({"orgs", "organizations", "users", "sponsors"})
"""`https://github.com/orgs/octo/people`: no account has these names."""
_NOBODY_S = _LISTS | {
    "about", "apps", "collections", "contact", "dashboard", "enterprise", "enterprises", "events", "explore", "features", "join",
    "login", "logout", "marketplace", "new", "notifications", "pricing", "readme", "search", "security", "settings", "site",
    "stars", "team", "topics", "trending",
}  # fmt: skip
"""Nor these, whose pages are of something else."""
_OTHER_FORGES = frozenset({"bitbucket.org", "codeberg.org", "gitea.com", "gitlab.com"})
"""Their owners have no ids of GitHub's."""
_HOST = r"(?P<host>(?i:https?)://[^/?#]+|[^/?#:\s][^/?#:\s.]*\.[^/?#:\s]+)"
_FILE_PAGE = re.compile(
    rf"{_HOST}/(?P<repository>[^/?#]+/[^/?#]+)/(?:(?:(?:blob|edit|raw|tree)/)?[^?#]+?/)?\.github/workflows/(?P<file>[^?#]+)(?:[?#].*)?",
)
"""`https://github.com/octo/widgets/blob/main/.github/workflows/release.yml`, as browsers show a file, or its raw text"""
_RUNS_PAGE = re.compile(rf"{_HOST}/(?P<repository>[^/?#]+/[^/?#]+)/actions/workflows/(?P<file>[^/?#]+)(?:[?#].*)?")
"""`https://github.com/octo/widgets/actions/workflows/release.yml`, where browsers show the runs of a workflow"""
_FOLDER = re.compile(r"\.github/workflows/", re.IGNORECASE)
_FILE = re.compile(r"[^/\x00-\x1f\x7f]{1,250}\.ya?ml", re.IGNORECASE)
_SUFFIX = re.compile(r"\.ya?ml@", re.IGNORECASE)
_SEVERAL = re.compile(r"[*?]|\.ya?ml\s*[,;|]", re.IGNORECASE)

WANTED_FILE = "release.yml, or owner/name/.github/workflows/release.yml for a file of another repository"


def _parts(text: str) -> list[str]:
    """The parts of `octo/widgets`, of a URL of any scheme and host, or of an address as ssh takes it.

    Raises:
        ValueError: it has none.
    """
    scp = _SCP_FORM.fullmatch(text)
    if "://" in text:
        try:
            address = urlsplit(text)
            path, host = address.path, address.hostname
        except ValueError:
            # Its own message would quote the address.
            path, host = "", None
        if _is_elsewhere(host):
            raise ValueError("give a name or an address of GitHub's; this is an address of another host")
    elif scp:
        path = scp["path"]
    else:
        path = text.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0]
        host, _, rest = path.partition("/")
        if "." in host and rest:
            # github.com/octo/widgets, as browsers show it; a login has no dot.
            path = rest
    parts = [part for part in path.split("/") if part]
    if not parts:
        raise ValueError("give a name, owner/name or URL")
    return parts


def _is_elsewhere(host: str | None) -> bool:
    """Whether it is the host of another forge."""
    return host is not None and host.lower().removeprefix("www.") in _OTHER_FORGES


def repository(text: str) -> tuple[str | None, str]:
    """Owner, where one is given, and name of a repository.

    Raises:
        ValueError: it names none.
    """
    text = text.replace("\\", "/")
    owner, name = None, text
    if "/" in text:
        owner, name, *rest = (*_parts(text), "")
        if owner in _NOBODY_S or (rest[:-1] and rest[0] not in _PAGES):
            name = ""
    name = name.removesuffix(".git")
    if not _REPOSITORY.fullmatch(name) or name in (".", ".."):
        raise ValueError("give the repository's name, owner/name or URL")
    return owner, name


def login(text: str) -> str:
    """The login of an owner.

    Raises:
        ValueError: it is none.
    """
    text = text.replace("\\", "/")
    name = text
    if "/" in text:
        parts = _parts(text)
        name = parts[1] if parts[0] in _LISTS and len(parts) > 1 else parts[0]
    name = name.removeprefix("@")
    if not _LOGIN.fullmatch(name) or name in _NOBODY_S:
        raise ValueError("give the owner's login, such as octo, without its address")
    return name


def workflow_file(text: str, policy_owner: str | None) -> str:
    """`release.yml`, or `owner/name/.github/workflows/release.yml` where a repository is given with it.

    Raises:
        ValueError: it is a display name, lies in a sub-folder, names a ref or more than one file, or is copied from another
            owner's page.
    """
    path = _FOLDER.sub(WORKFLOWS, text.replace("\\", "/"))
    address = _FILE_PAGE.fullmatch(path) or _RUNS_PAGE.fullmatch(path)
    if address:
        host = address["host"]
        if _is_elsewhere(urlsplit(host if "://" in host else f"//{host}").hostname):
            raise ValueError(f"the address is one of another host than GitHub; give {WANTED_FILE}")
        owner = address["repository"].partition("/")[0]
        if policy_owner is not None and owner.lower() != policy_owner.lower():
            # Of a fork, most of the time. Whoever means it can write the path.
            raise ValueError(f"the address is one of another owner than repository_owner; give {WANTED_FILE}")
        path = f"{address['repository']}/{WORKFLOWS}{unquote(address['file'])}"
    path = re.sub(r"/{2,}", "/", path) if "://" not in path else path
    home, _, file = path.removeprefix("./").lstrip("/").rpartition(WORKFLOWS)
    if _SUFFIX.search(file) and not _FILE.fullmatch(file.rpartition("/")[2]):
        raise ValueError(f"give the file without @ and what follows, which would not be looked at: {WANTED_FILE}")
    if _SEVERAL.search(file):
        raise ValueError(f"give one file; patterns and lists are not looked at: {WANTED_FILE}")
    if "/" in file:
        raise ValueError(
            f"GitHub runs no workflow of a sub-folder, nor of another folder than .github/workflows; give {WANTED_FILE}"
        )
    if not _FILE.fullmatch(file) or not file.isprintable():
        raise ValueError(
            f"give the workflow's file, which ends with .yml or .yaml, not its display name: {WANTED_FILE}"
        )
    if not home:
        return file
    owner, _, name = home.rstrip("/").partition("/")
    if not _LOGIN.fullmatch(owner) or not _REPOSITORY.fullmatch(name) or name in (".", ".."):
        raise ValueError(f"the file's repository is not owner/name; give {WANTED_FILE}")
    return f"{owner}/{name}/{WORKFLOWS}{file}"


# What a policy asks of a token

LONGEST_PATTERN = 255
"""Characters, and so many bytes at most as GitHub lets a ref have."""
LONGEST_WORD = 100
_CALLED = re.compile(
    r"(?P<home>[^@]*?)/\.github/workflows/(?P<file>[^/]+?\.ya?ml)(?:@(?P<ref>.*))?", re.IGNORECASE | re.DOTALL
)
"""A file's name may hold an `@`: its ending is what ends it."""
_NO_REFS = re.compile(r"[\x00-\x20\x7f~^:?\[\\]|\.\.|//|@\{|/$|\.lock$")
"""What no ref has: https://git-scm.com/docs/git-check-ref-format"""
_EVENT = re.compile(r"[a-z_]{1,50}")

WANTED_REF = "give the whole ref, such as refs/heads/main or refs/tags/v*; * stays within a segment, ** does not"
WANTED_CALLED = "give owner/name/.github/workflows/file.yml, with @ and a pattern of its refs if only some may be called, or * for any"


def ref_pattern(given: str) -> str:
    """A pattern of refs, as GitHub's tokens name them.

    Raises:
        ValueError: no ref fits it, or it does not say whether a branch or a tag is meant.
    """
    pattern = given.strip()
    if not pattern.startswith("refs/") or len(pattern) <= len("refs/"):
        raise ValueError(WANTED_REF)
    return _pattern(pattern)


def _pattern(pattern: str) -> str:
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"a pattern has at most {LONGEST_PATTERN} characters")
    if _NO_REFS.search(pattern) or not pattern.isprintable():
        raise ValueError(
            "no ref has a blank or one of ~ ^ : ? [ \\ .. // @{ in it, or ends with / or .lock; * and ** are the patterns"
        )
    return pattern


def called_workflow(given: str) -> str:
    """`*`, or the path of a reusable workflow, with the pattern of its refs if there is one. No address is taken: it names a ref
    that would not be looked at.

    Raises:
        ValueError: it is none of these.
    """
    path = given.strip()
    if path == "*":
        return path
    parts = _CALLED.fullmatch(path.replace("\\", "/"))
    if parts is None:
        raise ValueError(WANTED_CALLED)
    owner, _, name = parts["home"].partition("/")
    file, ref = parts["file"], parts["ref"]
    if not _LOGIN.fullmatch(owner) or not _REPOSITORY.fullmatch(name) or name in (".", ".."):
        raise ValueError(WANTED_CALLED)
    if not _FILE.fullmatch(file) or not file.isprintable() or _SEVERAL.search(file):
        raise ValueError(WANTED_CALLED)
    if ref is not None and not ref:
        raise ValueError(f"nothing follows the @; {WANTED_CALLED}")
    workflow = f"{owner}/{name}/{WORKFLOWS}{file}"
    return workflow if ref is None else f"{workflow}@{_pattern(ref)}"


def is_file_of(workflow: str, owner: str, repository: str) -> bool:
    """Whether the path of a workflow is one of this repository."""
    home, marker, _ = workflow.partition(f"/{WORKFLOWS}")
    return bool(marker) and home.lower() == f"{owner}/{repository}".lower()


def event(given: str) -> str:
    """The name of an event that starts runs.

    Raises:
        ValueError: none is called so.
    """
    name = given.strip()
    # In ASCII: a Kelvin sign in lower case is a k.
    name = name.lower() if name.isascii() else name
    if not _EVENT.fullmatch(name):
        raise ValueError("give the name of an event, such as push, release or workflow_dispatch")
    return name


def package_pattern(given: str) -> str:
    """
    Raises:
        ValueError: no package is called so.
    """
    pattern = given.strip()
    if not pattern or len(pattern) > LONGEST_PATTERN or not pattern.isprintable():
        raise ValueError(
            f"give names of packages, in which * is any characters, each on one line and of 1 to {LONGEST_PATTERN} characters"
        )
    return pattern


def action(given: str) -> str:
    """
    Raises:
        ValueError: no action is called so.
    """
    word = given.strip()
    if not word or len(word) > LONGEST_WORD or not word.isprintable() or "*" in word:
        raise ValueError(
            f"give what may be done, one word each, of 1 to {LONGEST_WORD} characters; there are no patterns here"
        )
    return word
