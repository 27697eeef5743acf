"""A reader written from the documents alone, and readers that get one thing wrong each.

They share no code with Tenure's rules: what the kit says has to be enough to tell them from the right one. Most of them
let through what they must not; some refuse what they must not, or name another policy than the one that counts.
"""

# ruff: noqa: ARG002 - what a rule leaves unread is often its mistake

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

View = Mapping[str, Any]
Claims = Mapping[str, Any]
WORKFLOWS = "/.github/workflows/"
REQUIRED: tuple[str, ...] = (
    "repository_owner_id",
    "repository_id",
    "repository",
    "repository_owner",
    "job_workflow_ref",
    "event_name",
)


class RightReader:
    """The right one."""

    required: tuple[str, ...] = REQUIRED
    forbidden: frozenset[str] = frozenset({"pull_request_target", "workflow_run"})

    def __init__(self) -> None:
        self.settings: Mapping[str, Any] = {}
        self.switches: Mapping[str, Any] = {}
        self.package: str | None = None
        self.action: str | None = None

    def answer(self, case: Mapping[str, Any]) -> dict[str, object]:
        """What a program that the kit's runner starts would answer to the case."""
        self.settings = case.get("settings", {})
        self.switches = case.get("switches", {})
        self.package, self.action = case.get("package"), case.get("action")
        claims = case["claims"]
        passing = []
        if self.complete(claims) and self.may_start(claims):
            near = [view for view in case["views"] if self.owner(view, claims)]
            passing = [view for view in near if self.passes(view, claims, near, datetime.fromisoformat(case["now"]))]
        chosen = self.choose(passing)
        return {"allowed": chosen is not None, "policy_id": chosen["policy_id"] if chosen else None}

    def passes(self, view: View, claims: Claims, near: list[View], now: datetime) -> bool:
        return (
            self.repository(view, claims, near)
            and self.workflow(view, claims)
            and self.commit(view, claims)
            and self.refs(view, claims)
            and self.ref_protected(view, claims)
            and self.environment(view, claims)
            and self.runner(view, claims)
            and self.events(view, claims)
            and self.packages(view)
            and self.actions(view)
            and not self.held(view)
            and self.is_open(view, now)
        )

    def choose(self, passing: list[View]) -> View | None:
        return min(passing, key=self.order, default=None)

    def order(self, view: View) -> tuple[Any, ...]:
        return view["environment"] is None, view["repository_id"] is None, view["policy_id"]

    # Switches

    def held(self, view: View) -> bool:
        return not self.scopes(view).isdisjoint(self.switches)

    def scopes(self, view: View) -> set[str]:
        found = {
            "all",
            f"issuer:{view.get('issuer', 'github')}",
            f"owner:{self.owner_key(view)}",
            f"creator:{view['created_by']['account']}",
            f"package_owner:{view['package_owner']['account']}",
        }
        if view["repository_id"] is not None:
            found.add(f"repository:{self.owner_key(view)}:{view['repository_id']}")
        return found

    def owner_key(self, view: View) -> str:
        return (
            f"{view['issuer']}/{view['repository_owner_id']}" if "issuer" in view else str(view["repository_owner_id"])
        )

    # Claims

    def complete(self, claims: Claims) -> bool:
        return all(
            self.number(claims.get(name)) is not None if name.endswith("_id") else bool(self.text(claims.get(name)))
            for name in self.required
        )

    def number(self, value: Any) -> Any:
        if isinstance(value, str):
            return int(value) if re.fullmatch(r"0|[1-9][0-9]*", value) else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def text(self, value: Any) -> str:
        if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
            return ""
        return value

    def may_start(self, claims: Claims) -> bool:
        return claims.get("event_name") not in self.settings.get("forbidden_events", self.forbidden)

    def alike(self, one: str, other: str) -> bool:
        return one.lower() == other.lower() and one.upper() == other.upper()

    # Rules

    def owner(self, view: View, claims: Claims) -> bool:
        return self.issued(view, claims) and self.owner_id(view, claims)

    def owner_id(self, view: View, claims: Claims) -> bool:
        return bool(self.number(claims.get("repository_owner_id")) == view["repository_owner_id"])

    def issued(self, view: View, claims: Claims) -> bool:
        return self.instance(claims) == str(view.get("issuer", "github"))

    def instance(self, claims: Claims) -> str | None:
        issuers = self.settings.get("issuers", {})
        if not issuers:
            return "github"
        if claims.get("iss") is None:
            return self.without_issuer(set(issuers.values()))
        return self.of_issuer(claims["iss"], issuers)

    def without_issuer(self, aliases: set[str]) -> str | None:
        return aliases.pop() if len(aliases) == 1 else None

    def of_issuer(self, issuer: Any, issuers: Mapping[str, str]) -> str | None:
        return issuers.get(issuer) if isinstance(issuer, str) else None

    def repository(self, view: View, claims: Claims, near: list[View]) -> bool:
        if view["repository_id"] is not None:
            return self.known(view, claims)
        return self.named(view, claims) and not self.contradicted(claims, near)

    def known(self, view: View, claims: Claims) -> bool:
        return bool(self.number(claims["repository_id"]) == view["repository_id"])

    def named(self, view: View, claims: Claims) -> bool:
        return self.alike(self.text(claims["repository"]).partition("/")[2], view["repository"])

    def contradicted(self, claims: Claims, near: list[View]) -> bool:
        bearers = [view for view in near if view["repository_id"] is not None and self.known(view, claims)]
        return not all(self.named(view, claims) for view in bearers)

    def split(self, ref: str) -> tuple[str, str]:
        repository, _, rest = ref.partition(WORKFLOWS)
        file = rest.partition("@refs/")[0] if "@refs/" in rest else rest.rpartition("@")[0]
        return repository, file

    def ran(self, claims: Claims) -> str:
        return self.text(claims.get("job_workflow_ref"))

    def workflow(self, view: View, claims: Claims) -> bool:
        if self.binds(view) == "caller":
            return self.caller(view, claims) and self.may_call(view, claims)
        return self.job(view, claims)

    def binds(self, view: View) -> str:
        if "called_workflow" in view:
            return "caller"
        return str(view.get("workflow_binds", self.settings.get("workflow_binds", "job")))

    def began(self, claims: Claims) -> str:
        return self.text(claims.get("workflow_ref"))

    def caller(self, view: View, claims: Claims) -> bool:
        repository, file = self.split(self.began(claims))
        own = WORKFLOWS not in view["workflow_file"]
        return own and self.callers_home(repository, claims) and self.file(file, view["workflow_file"])

    def callers_home(self, repository: str, claims: Claims) -> bool:
        return self.alike(repository, self.text(claims["repository"]))

    def may_call(self, view: View, claims: Claims) -> bool:
        named = view.get("called_workflow")
        if named is not None and self.called(named, claims):
            return True
        repository, _ = self.split(self.ran(claims))
        if not self.alike(repository, self.text(claims["repository"])):
            return False
        return self.one_commit(claims) or self.itself(claims)

    def itself(self, claims: Claims) -> bool:
        told = self.text(claims.get("workflow_sha")) + self.text(claims.get("job_workflow_sha"))
        return not told and self.ran(claims) == self.began(claims)

    def one_commit(self, claims: Claims) -> bool:
        one, other = self.text(claims.get("workflow_sha")), self.text(claims.get("job_workflow_sha"))
        return bool(one) and one == other

    def called(self, named: str, claims: Claims) -> bool:
        if named == "*":
            return True
        repository, file = self.split(self.ran(claims))
        parts = re.fullmatch(r"(.*?)/\.github/workflows/(.*?\.ya?ml)(?:@(.*))?", named)
        assert parts is not None
        fits = parts[3] is None or self.fits(parts[3], self.called_ref(claims))
        return fits and self.called_home(repository, parts[1]) and self.file(file, parts[2])

    def called_home(self, repository: str, named: str) -> bool:
        return self.alike(repository, named)

    def called_ref(self, claims: Claims) -> str:
        repository, file = self.split(self.ran(claims))
        return self.ran(claims).removeprefix(f"{repository}{WORKFLOWS}{file}@")

    def commit(self, view: View, claims: Claims) -> bool:
        if "refs" not in view and "ref_protected" not in view:
            return True
        repository, _ = self.split(self.ran(claims))
        return not self.alike(repository, self.text(claims["repository"])) or self.one_commit(claims)

    def refs(self, view: View, claims: Claims) -> bool:
        if "refs" not in view:
            return True
        ref = self.text(claims.get("ref"))
        return bool(ref) and any(self.fits(pattern, ref) for pattern in view["refs"])

    def fits(self, pattern: str, ref: str) -> bool:
        return re.fullmatch(self.expression(pattern, "[^/]*"), ref, re.DOTALL) is not None

    def expression(self, pattern: str, star: str, question_mark: str = r"\?") -> str:
        wild = {"*": star, "?": question_mark}
        parts: list[str] = re.findall(r"\*+|.", pattern, re.DOTALL)
        return "".join(wild.get(part, re.escape(part)) if part[:2] != "**" else ".*" for part in parts)

    def ref_protected(self, view: View, claims: Claims) -> bool:
        return "ref_protected" not in view or claims.get("ref_protected") == "true"

    def runner(self, view: View, claims: Claims) -> bool:
        return "runner" not in view or claims.get("runner_environment") == view["runner"]

    def events(self, view: View, claims: Claims) -> bool:
        return "events" not in view or claims["event_name"] in view["events"]

    def packages(self, view: View) -> bool:
        if self.package is None or "packages" not in view:
            return True
        return any(self.names(pattern, self.package) for pattern in view["packages"])

    def names(self, pattern: str, package: str) -> bool:
        return all(
            re.fullmatch(self.expression(case(pattern), ".*"), case(package), re.DOTALL) is not None
            for case in (str.lower, str.upper)
        )

    def actions(self, view: View) -> bool:
        return self.action is None or "actions" not in view or self.action in view["actions"]

    def job(self, view: View, claims: Claims) -> bool:
        repository, file = self.split(self.ran(claims))
        named, marker, wanted = view["workflow_file"].rpartition(WORKFLOWS)
        home = named if marker else self.text(claims.get("repository"))
        return self.home(repository, home, foreign=bool(marker)) and self.file(file, wanted)

    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return self.alike(repository, home)

    def file(self, file: str, wanted: str) -> bool:
        exact = self.settings.get("workflow_file_case") == "exact"
        return file == wanted if exact else self.alike(file, wanted)

    def environment(self, view: View, claims: Claims) -> bool:
        wanted = view["environment"]
        return wanted is None or self.same_environment(self.text(claims.get("environment")), wanted)

    def same_environment(self, ran: str, wanted: str) -> bool:
        return self.alike(ran, wanted)

    def is_open(self, view: View, now: datetime) -> bool:
        return self.usable(view) and (view["usable_until"] is None or self.before(now, view["usable_until"]))

    def usable(self, view: View) -> bool:
        return view["usable"] is True

    def before(self, now: datetime, until: str) -> bool:
        return now < datetime.fromisoformat(until)


# Ids


class IdsAsFloats(RightReader):
    def number(self, value: Any) -> Any:
        right = super().number(value)
        return None if right is None else float(right)

    def known(self, view: View, claims: Claims) -> bool:
        return bool(self.number(claims["repository_id"]) == float(view["repository_id"]))


class IdsOf32Bits(RightReader):
    def known(self, view: View, claims: Claims) -> bool:
        return bool((self.number(claims["repository_id"]) ^ view["repository_id"]) & 0xFFFFFFFF == 0)


class IdsThatWrapAround(RightReader):
    def number(self, value: Any) -> Any:
        right = super().number(value)
        return None if right is None else right % 2**64


class IdsWithLeadingZeros(RightReader):
    def number(self, value: Any) -> Any:
        return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]+", value) else super().number(value)


class IdsWithBlanks(RightReader):
    def number(self, value: Any) -> Any:
        return super().number(value.strip() if isinstance(value, str) else value)


class IdsWithASign(RightReader):
    def number(self, value: Any) -> Any:
        return super().number(value.removeprefix("+") if isinstance(value, str) else value)


class IdsInAnyScript(RightReader):
    def number(self, value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.isdecimal() and value[0] != "0" else super().number(value)


class IdsUpToTheFirstLetter(RightReader):
    def number(self, value: Any) -> Any:
        found = re.match(r"[0-9]+", value) if isinstance(value, str) else None
        return int(found[0]) if found else super().number(value)


class IdsThatAreTrue(RightReader):
    def number(self, value: Any) -> Any:
        return value if isinstance(value, int) else super().number(value)


class IdsWithADecimalPoint(RightReader):
    def number(self, value: Any) -> Any:
        return int(value) if isinstance(value, float) else super().number(value)


class IdsInAList(RightReader):
    def number(self, value: Any) -> Any:
        return super().number(value[0] if isinstance(value, list) and value else value)


class IdsThatBeginAlike(RightReader):
    def known(self, view: View, claims: Claims) -> bool:
        return str(claims["repository_id"]).startswith(str(view["repository_id"]))


# Owner and repository


class AnyOwner(RightReader):
    def owner(self, view: View, claims: Claims) -> bool:
        return True


class OwnerByLogin(RightReader):
    def owner(self, view: View, claims: Claims) -> bool:
        return self.alike(self.text(claims["repository_owner"]), view["repository_owner"])


class OwnerByLoginOrId(RightReader):
    def owner(self, view: View, claims: Claims) -> bool:
        return super().owner(view, claims) or self.text(claims["repository_owner"]) == view["repository_owner"]


class OwnerOnlyWhereNoIdIsKnown(RightReader):
    def owner(self, view: View, claims: Claims) -> bool:
        return view["repository_id"] is not None or super().owner(view, claims)


class OwnerOnlyWhereAnIdIsKnown(RightReader):
    def owner(self, view: View, claims: Claims) -> bool:
        return view["repository_id"] is None or super().owner(view, claims)


class AnyRepository(RightReader):
    def known(self, view: View, claims: Claims) -> bool:
        return True


class RepositoryByName(RightReader):
    def known(self, view: View, claims: Claims) -> bool:
        return self.named(view, claims)


class RepositoryByNameOrId(RightReader):
    def known(self, view: View, claims: Claims) -> bool:
        return super().known(view, claims) or self.named(view, claims)


class RepositoryByNameAndId(RightReader):
    def known(self, view: View, claims: Claims) -> bool:
        return super().known(view, claims) and self.named(view, claims)


class AnyNameWhereNoIdIsKnown(RightReader):
    def named(self, view: View, claims: Claims) -> bool:
        return view["repository_id"] is None or super().named(view, claims)


class NothingWhereNoIdIsKnown(RightReader):
    def named(self, view: View, claims: Claims) -> bool:
        return False


class NamesThatBeginAlike(RightReader):
    def named(self, view: View, claims: Claims) -> bool:
        return self.text(claims["repository"]).partition("/")[2].startswith(view["repository"])


class NamesThatEndAlike(RightReader):
    def named(self, view: View, claims: Claims) -> bool:
        return self.text(claims["repository"]).endswith(view["repository"])


class NamesAfterTheLastSlash(RightReader):
    def named(self, view: View, claims: Claims) -> bool:
        return self.alike(self.text(claims["repository"]).rpartition("/")[2], view["repository"])


class NamesByLetterCase(RightReader):
    def named(self, view: View, claims: Claims) -> bool:
        return bool(self.text(claims["repository"]).partition("/")[2] == view["repository"])


class NamesThatAnIdContradicts(RightReader):
    def contradicted(self, claims: Claims, near: list[View]) -> bool:
        return False


class NamesOnlyWhereNoIdIsFound(RightReader):
    def contradicted(self, claims: Claims, near: list[View]) -> bool:
        return any(view["repository_id"] is not None and self.known(view, claims) for view in near)


class NameFromTheSubject(RightReader):
    def named(self, view: View, claims: Claims) -> bool:
        return f"/{view['repository']}:" in self.text(claims.get("sub"))


class SubjectThatHasToFit(RightReader):
    def repository(self, view: View, claims: Claims, near: list[View]) -> bool:
        return super().repository(view, claims, near) and claims.get("sub", "").startswith("repo:octo/")


# Envelope case


class LowerCaseOnly(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return one.lower() == other.lower()


class UpperCaseOnly(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return one.upper() == other.upper()


class LowerOrUpperCase(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return one.lower() == other.lower() or one.upper() == other.upper()


class LowerOfUpperCase(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return one.upper().lower() == other.upper().lower()


class CaseFolding(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return one.casefold() == other.casefold()


class CompatibleLetters(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return super().alike(unicodedata.normalize("NFKC", one), unicodedata.normalize("NFKC", other))


class ComposedLetters(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return super().alike(unicodedata.normalize("NFC", one), unicodedata.normalize("NFC", other))


class LettersWithoutAccents(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return super().alike(*(re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", s)) for s in (one, other)))


class EnvironmentsInUpperCase(RightReader):
    def same_environment(self, ran: str, wanted: str) -> bool:
        return ran.upper() == wanted.upper()


class EnvironmentsInLowerCase(RightReader):
    def same_environment(self, ran: str, wanted: str) -> bool:
        return ran.lower() == wanted.lower()


class WorkflowRepositoriesInUpperCase(RightReader):
    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return repository.upper() == home.upper()


class WorkflowRepositoriesInLowerCase(RightReader):
    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return repository.lower() == home.lower()


# The workflow


class CallingWorkflow(RightReader):
    def ran(self, claims: Claims) -> str:
        return self.text(claims.get("workflow_ref"))


class CallingWorkflowToo(RightReader):
    def workflow(self, view: View, claims: Claims) -> bool:
        return super().workflow(view, claims) or super().workflow(
            view, {**claims, "job_workflow_ref": claims.get("workflow_ref")}
        )


class AnyWorkflow(RightReader):
    def workflow(self, view: View, claims: Claims) -> bool:
        return True


class WorkflowOfAnyRepository(RightReader):
    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return True


class OwnWorkflowOfAnyRepository(RightReader):
    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return not foreign or self.alike(repository, home)


class ReusableWorkflowOfAnyRepository(RightReader):
    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return foreign or self.alike(repository, home)


class OwnWorkflowByRepositoryName(RightReader):
    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return self.alike(*((s if foreign else s.rpartition("/")[2]) for s in (repository, home)))


class ReusableWorkflowByRepositoryName(RightReader):
    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return self.alike(*((s.rpartition("/")[2] if foreign else s) for s in (repository, home)))


class OwnWorkflowByOwner(RightReader):
    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return self.alike(*((s if foreign else s.partition("/")[0]) for s in (repository, home)))


class ReusableWorkflowByOwner(RightReader):
    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return self.alike(*((s.partition("/")[0] if foreign else s) for s in (repository, home)))


class WorkflowRepositoryThatEndsAlike(RightReader):
    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return repository.endswith(home)


class WorkflowRepositoryThatBeginsAlike(RightReader):
    def home(self, repository: str, home: str, *, foreign: bool) -> bool:
        return repository.startswith(home)


class OwnWorkflowBesideTheNamedOne(RightReader):
    def workflow(self, view: View, claims: Claims) -> bool:
        own = {**view, "workflow_file": view["workflow_file"].rpartition("/")[2]}
        return super().workflow(view, claims) or super().workflow(own, claims)


class WorkflowThatEndsAlike(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return file.endswith(wanted)


class WorkflowThatBeginsAlike(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return file.startswith(wanted)


class WorkflowOfAnyEnding(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return file.rpartition(".")[0] == wanted.rpartition(".")[0]


class WorkflowSomewhereInTheFile(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return wanted in file


class WorkflowSomewhereInTheRef(RightReader):
    def workflow(self, view: View, claims: Claims) -> bool:
        return f"/{view['workflow_file'].rpartition('/')[2]}@" in self.ran(claims)


class WorkflowAsAPattern(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return re.fullmatch(wanted, file) is not None


class WorkflowInLowerCase(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return file.lower() == wanted.lower()


class WorkflowInUpperCase(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return file.upper() == wanted.upper()


class WorkflowWithCaseFolding(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return file.casefold() == wanted.casefold()


class WorkflowByLetterCase(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return file == wanted


class WorkflowInAnyLetterCase(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return self.alike(file, wanted)


class WorkflowInAnyFolder(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return file.rpartition("/")[2] == wanted


class WorkflowWithPercentSigns(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return unquote(file) == wanted


class WorkflowWithBlanks(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return file.strip() == wanted


class FileUpToTheFirstAt(RightReader):
    def split(self, ref: str) -> tuple[str, str]:
        repository, _, rest = ref.partition(WORKFLOWS)
        return repository, rest.partition("@")[0]


class FileUpToTheLastAt(RightReader):
    def split(self, ref: str) -> tuple[str, str]:
        repository, _, rest = ref.partition(WORKFLOWS)
        return repository, rest.rpartition("@")[0]


class FileUpToTheLastRefs(RightReader):
    def split(self, ref: str) -> tuple[str, str]:
        repository, _, rest = ref.partition(WORKFLOWS)
        return repository, rest.rpartition("@refs/")[0] if "@refs/" in rest else rest.rpartition("@")[0]


class FileOfBranchesOnly(RightReader):
    def split(self, ref: str) -> tuple[str, str]:
        repository, _, rest = ref.partition(WORKFLOWS)
        return repository, rest.partition("@refs/heads/")[0] if "@refs/heads/" in rest else ""


class FileWithoutARef(RightReader):
    def split(self, ref: str) -> tuple[str, str]:
        return super().split(ref if "@" in ref else ref + "@")


class FileAfterTheLastFolder(RightReader):
    def split(self, ref: str) -> tuple[str, str]:
        before, _, rest = ref.rpartition(WORKFLOWS)
        return before.partition(WORKFLOWS)[0], rest.partition("@")[0]


class RepositoryBeforeTheLastFolder(RightReader):
    def split(self, ref: str) -> tuple[str, str]:
        before, _, rest = ref.rpartition(WORKFLOWS)
        return "/".join(before.split("/")[-2:]), rest.partition("@")[0]


# The environment


class AnyEnvironment(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        return True


class EnvironmentOnlyIfThereIsOne(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        return "environment" not in claims or super().environment(view, claims)


class EnvironmentOnlyIfItIsNotEmpty(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        return not self.text(claims.get("environment")) or super().environment(view, claims)


class EnvironmentOnlyIfItIsAText(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        return not isinstance(claims.get("environment", ""), str) or super().environment(view, claims)


class NoEnvironmentWhereNoneIsWanted(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        return super().environment(view, claims) and not (view["environment"] is None and "environment" in claims)


class EnvironmentByLetterCase(RightReader):
    def same_environment(self, ran: str, wanted: str) -> bool:
        return ran == wanted


class EnvironmentWithBlanks(RightReader):
    def same_environment(self, ran: str, wanted: str) -> bool:
        return self.alike(ran.strip(), wanted)


class EnvironmentThatBeginsAlike(RightReader):
    def same_environment(self, ran: str, wanted: str) -> bool:
        return ran.startswith(wanted) or self.alike(ran, wanted)


class EnvironmentThatEndsAlike(RightReader):
    def same_environment(self, ran: str, wanted: str) -> bool:
        return ran.endswith(wanted) or self.alike(ran, wanted)


class EnvironmentThatIsAPartOfThePolicys(RightReader):
    def same_environment(self, ran: str, wanted: str) -> bool:
        return bool(ran) and ran.lower() in wanted.lower() and self.alike(ran, ran)


class EnvironmentUpToAZeroByte(RightReader):
    def same_environment(self, ran: str, wanted: str) -> bool:
        return self.alike(ran.partition("\0")[0], wanted)


class EnvironmentInAList(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        given = claims.get("environment")
        return (isinstance(given, list) and view["environment"] in given) or super().environment(view, claims)


class EnvironmentFromTheSubject(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        wanted = view["environment"]
        return wanted is None or self.text(claims.get("sub")).endswith(f":environment:{wanted}")


class HalfSurrogatesDropped(RightReader):
    def text(self, value: Any) -> str:
        return value.encode("utf-8", "ignore").decode() if isinstance(value, str) else ""


# Claims that are missing, or of another kind


class NoEventNeeded(RightReader):
    required = tuple(name for name in REQUIRED if name != "event_name")


class NoOwnerNeeded(RightReader):
    required = tuple(name for name in REQUIRED if name != "repository_owner")


class NoRepositoryNeeded(RightReader):
    required = tuple(name for name in REQUIRED if name != "repository")

    def workflow(self, view: View, claims: Claims) -> bool:
        return super().workflow(view, {"repository": "octo/widgets", **claims})


class MissingOwnerIdPasses(RightReader):
    required = tuple(name for name in REQUIRED if name != "repository_owner_id")

    def owner(self, view: View, claims: Claims) -> bool:
        return "repository_owner_id" not in claims or super().owner(view, claims)


class MissingRepositoryIdPasses(RightReader):
    required = tuple(name for name in REQUIRED if name != "repository_id")

    def known(self, view: View, claims: Claims) -> bool:
        return "repository_id" not in claims or super().known(view, claims)


class MissingWorkflowPasses(RightReader):
    required = tuple(name for name in REQUIRED if name != "job_workflow_ref")

    def workflow(self, view: View, claims: Claims) -> bool:
        return "job_workflow_ref" not in claims or super().workflow(view, claims)


class MissingWorkflowIsTheCalling(RightReader):
    required = tuple(name for name in REQUIRED if name != "job_workflow_ref")

    def ran(self, claims: Claims) -> str:
        return self.text(claims.get("job_workflow_ref", claims.get("workflow_ref")))


class EmptyClaimsAreThere(RightReader):
    def complete(self, claims: Claims) -> bool:
        return super().complete({name: value or "?" for name, value in claims.items()})


class ListsForTexts(RightReader):
    def complete(self, claims: Claims) -> bool:
        return super().complete({n: v[0] if isinstance(v, list) and v else v for n, v in claims.items()})

    def may_start(self, claims: Claims) -> bool:
        event = claims["event_name"]
        return isinstance(event, list) or super().may_start(claims)


class NumbersForTexts(RightReader):
    def complete(self, claims: Claims) -> bool:
        return super().complete(
            {n: str(v) if isinstance(v, int) and not n.endswith("id") else v for n, v in claims.items()}
        )


class NoClaimMayBeNew(RightReader):
    def complete(self, claims: Claims) -> bool:
        return super().complete(claims) and not any(name.startswith("a_claim_of") for name in claims)


class NoFieldMayBeNew(RightReader):
    def usable(self, view: View) -> bool:
        return super().usable(view) and len(view) == 19


# Events


class AnyEvent(RightReader):
    forbidden = frozenset()


class AnyWorkflowRun(RightReader):
    forbidden = frozenset({"pull_request_target"})


class AnyPullRequestTarget(RightReader):
    forbidden = frozenset({"workflow_run"})


class NoEventByHand(RightReader):
    forbidden = RightReader.forbidden | {"workflow_dispatch"}


class PushesAndReleasesOnly(RightReader):
    def may_start(self, claims: Claims) -> bool:
        return claims.get("event_name") in {"push", "release"}


# Standing


class TruthyUsable(RightReader):
    def usable(self, view: View) -> bool:
        return bool(view["usable"])


class UsableAsAText(RightReader):
    def usable(self, view: View) -> bool:
        return str(view["usable"]).lower() == "true"


class UsableEqualToTrue(RightReader):
    def usable(self, view: View) -> bool:
        return bool(view["usable"] == True)  # noqa: E712 - the mistake: so is 1


class UsableUnlessFalse(RightReader):
    def usable(self, view: View) -> bool:
        return view["usable"] is not False


class StateForUsable(RightReader):
    def usable(self, view: View) -> bool:
        return view["state"] in {"active", "provisional"}


class StateBesideUsable(RightReader):
    def usable(self, view: View) -> bool:
        return super().usable(view) or view["state"] == "active"


class UsableUnlessDisabled(RightReader):
    def usable(self, view: View) -> bool:
        return bool(view["state"] != "disabled")


class UsableUnlessExpired(RightReader):
    def usable(self, view: View) -> bool:
        return bool(view["state"] != "expired")


class UsableWithoutReasons(RightReader):
    def usable(self, view: View) -> bool:
        return not view["reasons"]


class AlwaysUsable(RightReader):
    def usable(self, view: View) -> bool:
        return True


class OnlyActive(RightReader):
    def usable(self, view: View) -> bool:
        return super().usable(view) and view["state"] == "active"


class OnlyWithoutAdvisories(RightReader):
    def usable(self, view: View) -> bool:
        return super().usable(view) and not view["advisories"]


class LimitForUsable(RightReader):
    def is_open(self, view: View, now: datetime) -> bool:
        return super().is_open(view, now) or (view["usable_until"] or "") > now.isoformat()


class NoLimit(RightReader):
    def before(self, now: datetime, until: str) -> bool:
        return True


class NoLimitOnceActive(RightReader):
    def is_open(self, view: View, now: datetime) -> bool:
        return super().is_open(view, now) or (self.usable(view) and view["state"] == "active")


class NullIsOver(RightReader):
    def is_open(self, view: View, now: datetime) -> bool:
        return super().is_open(view, now) and view["usable_until"] is not None


class UpToAndWithTheLimit(RightReader):
    def before(self, now: datetime, until: str) -> bool:
        return now <= datetime.fromisoformat(until)


class MillisecondsOnly(RightReader):
    def before(self, now: datetime, until: str) -> bool:
        return now.replace(microsecond=now.microsecond // 1000 * 1000) < datetime.fromisoformat(until)


class SecondsOnly(RightReader):
    def before(self, now: datetime, until: str) -> bool:
        return now.replace(microsecond=0) < datetime.fromisoformat(until)


class SecondsOnBothSides(RightReader):
    def before(self, now: datetime, until: str) -> bool:
        return now.replace(microsecond=0) < datetime.fromisoformat(until).replace(microsecond=0)


class DaysOnly(RightReader):
    def before(self, now: datetime, until: str) -> bool:
        return now.date() <= datetime.fromisoformat(until).date()


class TimesAsTexts(RightReader):
    """Without a fraction where there is none: a point comes before a Z."""

    def before(self, now: datetime, until: str) -> bool:
        return now.isoformat().replace("+00:00", "Z") < until


class TimeOfDayOnly(RightReader):
    def before(self, now: datetime, until: str) -> bool:
        return now.time() < datetime.fromisoformat(until).time()


class AMinuteOfGrace(RightReader):
    def before(self, now: datetime, until: str) -> bool:
        return now - timedelta(minutes=1) < datetime.fromisoformat(until)


class LimitInAnotherZone(RightReader):
    def before(self, now: datetime, until: str) -> bool:
        return now - timedelta(hours=2) < datetime.fromisoformat(until)


# Which of several


class FirstThatPasses(RightReader):
    def choose(self, passing: list[View]) -> View | None:
        return passing[0] if passing else None


class LastThatPasses(RightReader):
    def choose(self, passing: list[View]) -> View | None:
        return passing[-1] if passing else None


class HighestId(RightReader):
    def choose(self, passing: list[View]) -> View | None:
        return max(passing, key=lambda view: view["policy_id"], default=None)


class NoOrderById(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return super().order(view)[:2]


class IdsInAnyLetterCase(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return (*super().order(view)[:2], view["policy_id"].lower())


class IdsByTheNumbersInThem(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return (*super().order(view)[:2], [int(n) for n in re.findall("[0-9]+", view["policy_id"])], view["policy_id"])


class IdsByLength(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return (*super().order(view)[:2], len(view["policy_id"]), view["policy_id"])


class OrderByIdAlone(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return (view["policy_id"],)


class NewestFirst(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return (*super().order(view)[:2], -view["revision"], view["policy_id"])


class EnvironmentsInNoOrder(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return super().order(view)[1:]


class RepositoryIdsInNoOrder(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return (super().order(view)[0], view["policy_id"])


class RepositoryIdBeforeEnvironment(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return (view["repository_id"] is None, view["environment"] is None, view["policy_id"])


class AskedInOrderWithoutStanding(RightReader):
    """The most particular counts, and only then whether it may be used."""

    def answer(self, case: Mapping[str, Any]) -> dict[str, object]:
        kept = {view["policy_id"]: view for view in case["views"]}
        waved = super().answer({**case, "views": [{**v, "usable": True, "usable_until": None} for v in kept.values()]})
        chosen = kept.get(str(waved["policy_id"]))
        if chosen is not None and self.is_open(chosen, datetime.fromisoformat(case["now"])):
            return waved
        return {"allowed": False, "policy_id": None}


class FirstOfItsRepositoryOnly(RightReader):
    def answer(self, case: Mapping[str, Any]) -> dict[str, object]:
        near = [view for view in case["views"] if self.owner(view, case["claims"])]
        return super().answer({**case, "views": sorted(near, key=lambda view: str(view["policy_id"]))[:1]})


class OneThatIsClosedClosesAll(RightReader):
    def answer(self, case: Mapping[str, Any]) -> dict[str, object]:
        now = datetime.fromisoformat(case["now"])
        all_open = all(self.is_open(view, now) for view in case["views"])
        return super().answer(case) if all_open else {"allowed": False, "policy_id": None}


class PoliciesMixed(RightReader):
    """One rule may be kept by one policy, and the next by another."""

    def answer(self, case: Mapping[str, Any]) -> dict[str, object]:
        now, claims = datetime.fromisoformat(case["now"]), case["claims"]
        right = super().answer(case)
        near = [v for v in case["views"] if self.complete(claims) and self.may_start(claims) and self.owner(v, claims)]
        ours = [view for view in near if self.repository(view, claims, near)]
        mixed = (
            any(self.workflow(view, claims) for view in ours)
            and any(self.environment(view, claims) for view in ours)
            and any(self.is_open(view, now) for view in ours)
        )
        return {"allowed": True, "policy_id": ours[0]["policy_id"]} if mixed and not right["allowed"] else right


# What is right elsewhere is not looked at in one place


class AnyEventInAnEnvironment(RightReader):
    def may_start(self, claims: Claims) -> bool:
        return bool(claims.get("environment")) or super().may_start(claims)


class AnyEventWithAReusableWorkflow(RightReader):
    def may_start(self, claims: Claims) -> bool:
        own = self.text(claims["job_workflow_ref"]).startswith(self.text(claims["repository"]) + "/")
        return not own or super().may_start(claims)


class AnyEventOnAProtectedBranch(RightReader):
    def may_start(self, claims: Claims) -> bool:
        return claims.get("ref_protected") == "true" or super().may_start(claims)


class AnyWorkflowWithTheEnvironment(RightReader):
    def workflow(self, view: View, claims: Claims) -> bool:
        return view["environment"] is not None or super().workflow(view, claims)


class WorkflowOfAnyRepositoryWithTheEnvironment(RightReader):
    def workflow(self, view: View, claims: Claims) -> bool:
        _, file = self.split(self.ran(claims))
        return super().workflow(view, claims) or (
            view["environment"] is not None and file == view["workflow_file"].rpartition(WORKFLOWS)[2]
        )


class AnyWorkflowWhereNoIdIsKnown(RightReader):
    def workflow(self, view: View, claims: Claims) -> bool:
        return view["repository_id"] is None or super().workflow(view, claims)


class AnyRepositoryWithAReusableWorkflow(RightReader):
    def repository(self, view: View, claims: Claims, near: list[View]) -> bool:
        return WORKFLOWS in view["workflow_file"] or super().repository(view, claims, near)


class AnyEnvironmentWithAReusableWorkflow(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        return WORKFLOWS in view["workflow_file"] or super().environment(view, claims)


class AnyEnvironmentWhereNoIdIsKnown(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        return view["repository_id"] is None or super().environment(view, claims)


class AnyEnvironmentOnATag(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        return str(claims.get("ref")).startswith("refs/tags/") or super().environment(view, claims)


class UsableWithAReusableWorkflow(RightReader):
    def usable(self, view: View) -> bool:
        return WORKFLOWS in view["workflow_file"] or super().usable(view)


class UsableWhereNoIdIsKnown(RightReader):
    def usable(self, view: View) -> bool:
        return view["repository_id"] is None or super().usable(view)


class UsableThoughNobodyCouldVerify(RightReader):
    def usable(self, view: View) -> bool:
        return view["reasons"] == ["verification_lapsed"] or super().usable(view)


class NoLimitWithAReusableWorkflow(RightReader):
    def is_open(self, view: View, now: datetime) -> bool:
        return super().is_open({**view, "usable_until": None} if WORKFLOWS in view["workflow_file"] else view, now)


class NoLimitWhereNoIdIsKnown(RightReader):
    def is_open(self, view: View, now: datetime) -> bool:
        return super().is_open({**view, "usable_until": None} if view["repository_id"] is None else view, now)


class NoLimitWithTheEnvironment(RightReader):
    def is_open(self, view: View, now: datetime) -> bool:
        return super().is_open({**view, "usable_until": None} if view["environment"] is not None else view, now)


# Names that another policy contradicts


class NamesThatOnlyUsablePoliciesContradict(RightReader):
    def contradicted(self, claims: Claims, near: list[View]) -> bool:
        return super().contradicted(claims, [view for view in near if view["usable"]])


class NamesThatExpiredPoliciesDoNotContradict(RightReader):
    def contradicted(self, claims: Claims, near: list[View]) -> bool:
        return super().contradicted(claims, [view for view in near if view["state"] != "expired"])


class NamesThatThePackageOwnersPoliciesContradict(RightReader):
    def repository(self, view: View, claims: Claims, near: list[View]) -> bool:
        return super().repository(view, claims, [v for v in near if v["package_owner"] == view["package_owner"]])


class NamesThatTheFirstContradicts(RightReader):
    def contradicted(self, claims: Claims, near: list[View]) -> bool:
        return super().contradicted(claims, self.bearers(claims, near)[:1])

    def bearers(self, claims: Claims, near: list[View]) -> list[View]:
        return [view for view in near if view["repository_id"] is not None and self.known(view, claims)]


class NamesThatTheLastContradicts(NamesThatTheFirstContradicts):
    def contradicted(self, claims: Claims, near: list[View]) -> bool:
        return RightReader.contradicted(self, claims, self.bearers(claims, near)[-1:])


class NamesThatAllContradict(NamesThatTheFirstContradicts):
    def contradicted(self, claims: Claims, near: list[View]) -> bool:
        bearers = self.bearers(claims, near)
        return bool(bearers) and not any(self.named(view, claims) for view in bearers)


class NamesThatLetterCaseContradicts(NamesThatTheFirstContradicts):
    def contradicted(self, claims: Claims, near: list[View]) -> bool:
        name = self.text(claims["repository"]).partition("/")[2]
        return any(view["repository"] != name for view in self.bearers(claims, near))


# What a language makes of nothing, of numbers and of the ends of texts


class NoEnvironmentIsCalledNone(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        return super().environment(view, {**claims, "environment": str(claims.get("environment"))})


class NoEnvironmentIsCalledUndefined(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        return super().environment(view, {"environment": "undefined", **claims})


class NoEnvironmentIsCalledNull(RightReader):
    def environment(self, view: View, claims: Claims) -> bool:
        ran = claims.get("environment")
        return super().environment(view, {"environment": "null" if ran is None else ran})


class IdsThatStopAtTheLargest(RightReader):
    def number(self, value: Any) -> Any:
        right = super().number(value)
        return None if right is None else min(right, 2**63 - 1)


class IdsInHexadecimalDigits(RightReader):
    def number(self, value: Any) -> Any:
        return int(value, 16) if isinstance(value, str) and value.startswith("0x") else super().number(value)


class IdsWithAnExponent(RightReader):
    def number(self, value: Any) -> Any:
        found = re.fullmatch(r"([0-9]+)e([0-9])", value) if isinstance(value, str) else None
        return int(found[1]) * 10 ** int(found[2]) if found else super().number(value)


class IdsWithCommas(RightReader):
    def number(self, value: Any) -> Any:
        return super().number(value.replace(",", "") if isinstance(value, str) else value)


class IdsBeforeALineBreak(RightReader):
    def number(self, value: Any) -> Any:
        return super().number(value.removesuffix("\n") if isinstance(value, str) else value)


class FilesBeforeALineBreak(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return file.removesuffix("\n") == wanted


class FilesOfComposedLetters(RightReader):
    def file(self, file: str, wanted: str) -> bool:
        return unicodedata.normalize("NFC", file) == unicodedata.normalize("NFC", wanted)


class LettersInAsciiCase(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return one.encode().lower() == other.encode().lower()


class NamesWithoutGit(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return super().alike(one.removesuffix(".git"), other.removesuffix(".git"))


class NamesWithAnyDash(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return super().alike(re.sub("[-_.]+", "-", one), re.sub("[-_.]+", "-", other))


class NamesBetweenTheFirstTwoSlashes(RightReader):
    def named(self, view: View, claims: Claims) -> bool:
        return self.alike([*self.text(claims["repository"]).split("/"), ""][1], view["repository"])


class NamesWithTheLoginThatIsKnown(RightReader):
    def named(self, view: View, claims: Claims) -> bool:
        return self.alike(self.text(claims["repository"]), f"{view['repository_owner']}/{view['repository']}")


class OwnerByLoginAndId(RightReader):
    def owner(self, view: View, claims: Claims) -> bool:
        return super().owner(view, claims) and self.text(claims["repository_owner"]) == view["repository_owner"]


# The workflow's repository


class OwnWorkflowByRepositoryOwner(RightReader):
    def workflow(self, view: View, claims: Claims) -> bool:
        name = self.text(claims["repository"]).partition("/")[2]
        return super().workflow(view, {**claims, "repository": f"{claims['repository_owner']}/{name}"})


class OwnWorkflowByEitherName(RightReader):
    def workflow(self, view: View, claims: Claims) -> bool:
        known = f"{view['repository_owner']}/{view['repository']}"
        return super().workflow(view, claims) or super().workflow(view, {**claims, "repository": known})


class WorkflowsThatGitHubMadeUp(RightReader):
    def workflow(self, view: View, claims: Claims) -> bool:
        return self.ran(claims).startswith("dynamic/") or super().workflow(view, claims)


# The order of policies


class IdsInTheOrderOfUtf16(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return (*super().order(view)[:2], view["policy_id"].encode("utf-16-be"))


class IdsInTheOrderOfTheirLetters(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return (*super().order(view)[:2], re.sub(r"\W", "", view["policy_id"]))


class ActiveBeforeProvisional(RightReader):
    def order(self, view: View) -> tuple[Any, ...]:
        return (*super().order(view)[:2], view["state"], view["policy_id"])


class TheFirstFourOnly(RightReader):
    def answer(self, case: Mapping[str, Any]) -> dict[str, object]:
        return super().answer({**case, "views": case["views"][:4]})


# Refused for what nobody asked


class NoPullRequests(RightReader):
    forbidden = frozenset({*RightReader.forbidden, "pull_request"})


class NoComments(RightReader):
    forbidden = frozenset({*RightReader.forbidden, "issue_comment"})


class NoMachinesOfTheOwners(RightReader):
    def may_start(self, claims: Claims) -> bool:
        return claims.get("runner_environment") != "self-hosted" and super().may_start(claims)


class BranchesAndTagsOnly(RightReader):
    def may_start(self, claims: Claims) -> bool:
        return str(claims.get("ref")).startswith(("refs/heads/", "refs/tags/")) and super().may_start(claims)


class VisibilityThatHasToFit(RightReader):
    def owner(self, view: View, claims: Claims) -> bool:
        return super().owner(view, claims) and claims.get("repository_visibility") == view["visibility"]


class CreatorOnly(RightReader):
    def owner(self, view: View, claims: Claims) -> bool:
        return super().owner(view, claims) and claims.get("actor_id", "42002") == str(
            view["created_by"]["github_user_id"]
        )


# What a policy asks beside: not kept


class AnyRef(RightReader):
    def refs(self, view: View, claims: Claims) -> bool:
        return True


class AnyRefThatIsNotTold(RightReader):
    def refs(self, view: View, claims: Claims) -> bool:
        return not self.text(claims.get("ref")) or super().refs(view, claims)


class NoRefsAreAnyRef(RightReader):
    def refs(self, view: View, claims: Claims) -> bool:
        return not view.get("refs") or super().refs(view, claims)


class TheFirstRefOnly(RightReader):
    def refs(self, view: View, claims: Claims) -> bool:
        return super().refs({**view, "refs": view["refs"][:1]} if "refs" in view else view, claims)


class RefByItsType(RightReader):
    def refs(self, view: View, claims: Claims) -> bool:
        kinds = {"refs/heads": "branch", "refs/tags": "tag"}
        wanted = {kinds.get(pattern.rpartition("/")[0]) for pattern in view.get("refs", ())}
        return claims.get("ref_type") in wanted or super().refs(view, claims)


class RefFromTheSubject(RightReader):
    def refs(self, view: View, claims: Claims) -> bool:
        ref = self.text(claims.get("sub")).partition(":ref:")[2]
        return super().refs(view, {**claims, "ref": ref})


class RefOfTheWorkflow(RightReader):
    def refs(self, view: View, claims: Claims) -> bool:
        return super().refs(view, {**claims, "ref": self.ran(claims).rpartition("@")[2]})


class RefInAList(RightReader):
    def refs(self, view: View, claims: Claims) -> bool:
        ref = claims.get("ref")
        return super().refs(view, {**claims, "ref": ref[0] if isinstance(ref, list) else ref})


class StarsThatCrossSegments(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return re.fullmatch(self.expression(pattern, ".*"), ref, re.DOTALL) is not None


class TwoStarsInOneSegment(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return super().fits(pattern.replace("**", "*"), ref)


class StarsForOneLetterAtLeast(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return re.fullmatch(self.expression(pattern, "[^/]+"), ref, re.DOTALL) is not None


class TwoStarsForOneLetterAtLeast(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return re.fullmatch(self.expression(pattern, "[^/]*").replace(".*", ".+"), ref, re.DOTALL) is not None


class RefsThatBeginAlike(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return re.match(self.expression(pattern, "[^/]*"), ref, re.DOTALL) is not None


class RefsThatBeginAsThePattern(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return ref.startswith(pattern.partition("*")[0]) if "*" in pattern else ref == pattern


class RefsThatEndAlike(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return re.search(f"(?:{self.expression(pattern, '[^/]*')})$", ref, re.DOTALL) is not None


class RefsUpToTheEndOfALine(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return re.search(f"^(?:{self.expression(pattern, '[^/]*')})$", ref) is not None


class RefsInAnyLetterCase(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return super().fits(pattern.lower(), ref.lower())


class RefsByTheirNamesAlone(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return super().fits(*(re.sub("^refs/(heads|tags)/", "", name) for name in (pattern, ref)))


class RefsAsRegularExpressions(RightReader):
    def expression(self, pattern: str, star: str, question_mark: str = r"\?") -> str:
        return pattern.replace("**", "\0").replace("*", star).replace("\0", ".*")


class RefsWithAnyDot(RightReader):
    def expression(self, pattern: str, star: str, question_mark: str = r"\?") -> str:
        return super().expression(pattern, star, question_mark).replace(r"\.", ".")


class RefsAsAShellHasThem(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return fnmatch.fnmatchcase(ref, pattern) and (ref.count("/") == pattern.count("/") or "**" in pattern)


class RefsWithAQuestionMark(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return re.fullmatch(self.expression(pattern, "[^/]*", "."), ref, re.DOTALL) is not None


class RefsExactly(RightReader):
    def fits(self, pattern: str, ref: str) -> bool:
        return pattern == ref


class RefsWithoutTheirCommit(RightReader):
    def commit(self, view: View, claims: Claims) -> bool:
        return True


class RefsWithTheirCommitIfItIsTold(RightReader):
    def commit(self, view: View, claims: Claims) -> bool:
        told = claims.get("workflow_sha") and claims.get("job_workflow_sha")
        return not told or super().commit(view, claims)


class RefsWithoutTheJobsCommit(RightReader):
    def commit(self, view: View, claims: Claims) -> bool:
        return "job_workflow_sha" not in claims or super().commit(view, claims)


class RefsWithTheCommitInSha(RightReader):
    def commit(self, view: View, claims: Claims) -> bool:
        return super().commit(view, {**claims, "workflow_sha": claims.get("sha")})


class CommitsThatAreAlikeInAnyForm(RightReader):
    def one_commit(self, claims: Claims) -> bool:
        return claims.get("workflow_sha") == claims.get("job_workflow_sha")


class CommitsForBranchesAlone(RightReader):
    def commit(self, view: View, claims: Claims) -> bool:
        return "refs" not in view or super().commit(view, claims)


class CommitsOfTheNamedFileAlone(RightReader):
    def commit(self, view: View, claims: Claims) -> bool:
        return self.binds(view) == "caller" or super().commit(view, claims)


class CommitsOfStrangersToo(RightReader):
    def commit(self, view: View, claims: Claims) -> bool:
        return ("refs" not in view and "ref_protected" not in view) or self.one_commit(claims)


class CommitsWhereNobodyAsks(RightReader):
    def commit(self, view: View, claims: Claims) -> bool:
        return super().commit({**view, "refs": []}, claims)


class Unprotected(RightReader):
    def ref_protected(self, view: View, claims: Claims) -> bool:
        return True


class UnprotectedIfItIsNotTold(RightReader):
    def ref_protected(self, view: View, claims: Claims) -> bool:
        return "ref_protected" not in claims or super().ref_protected(view, claims)


class ProtectedIfThereIsAnything(RightReader):
    def ref_protected(self, view: View, claims: Claims) -> bool:
        return "ref_protected" not in view or bool(claims.get("ref_protected"))


class ProtectedIfTrue(RightReader):
    def ref_protected(self, view: View, claims: Claims) -> bool:
        return "ref_protected" not in view or claims.get("ref_protected") in (True, "true")


class ProtectedInAnyLetterCase(RightReader):
    def ref_protected(self, view: View, claims: Claims) -> bool:
        return "ref_protected" not in view or str(claims.get("ref_protected")) in ("true", "True")


# The workflow that called


class CallersUnread(RightReader):
    def binds(self, view: View) -> str:
        return "job"


class CallersOfTheInstallationUnread(RightReader):
    def binds(self, view: View) -> str:
        return "caller" if "called_workflow" in view else str(view.get("workflow_binds", "job"))


class CallersByTheInstallationAlone(RightReader):
    def binds(self, view: View) -> str:
        return str(self.settings.get("workflow_binds", "job")) if "called_workflow" not in view else "caller"


class CalledWorkflowsWithoutTheirCaller(RightReader):
    def binds(self, view: View) -> str:
        return str(view.get("workflow_binds", self.settings.get("workflow_binds", "job")))


class CallersThatMayCallAnything(RightReader):
    def may_call(self, view: View, claims: Claims) -> bool:
        return True


class CallersThatMayCallTheirOwnRepository(RightReader):
    def one_commit(self, claims: Claims) -> bool:
        return True


class CallersThatMayCallTheirOwnFile(RightReader):
    def may_call(self, view: View, claims: Claims) -> bool:
        return self.split(self.ran(claims)) == self.split(self.began(claims)) or super().may_call(view, claims)


class CallersThatMayCallTheirOwnRef(RightReader):
    def may_call(self, view: View, claims: Claims) -> bool:
        return self.ran(claims) == self.began(claims) or super().may_call(view, claims)


class CallersThatMayCallTheirOwnCommit(RightReader):
    def may_call(self, view: View, claims: Claims) -> bool:
        return self.one_commit(claims) or super().may_call(view, claims)


class CallersThatMayCallWhatIsNotTold(RightReader):
    def may_call(self, view: View, claims: Claims) -> bool:
        return "job_workflow_sha" not in claims or super().may_call(view, claims)


class CallersThatCallNothing(RightReader):
    def may_call(self, view: View, claims: Claims) -> bool:
        return super().may_call(view, claims) and (self.ran(claims) == self.began(claims) or "called_workflow" in view)


class CallersWhoseCommitHasToBeTold(RightReader):
    def itself(self, claims: Claims) -> bool:
        return False


class CallersByJob(RightReader):
    def began(self, claims: Claims) -> str:
        return self.ran(claims)


class CallersByJobIfTheyAreNotTold(RightReader):
    def began(self, claims: Claims) -> str:
        return super().began(claims) or self.ran(claims)


class CallersInAList(RightReader):
    def began(self, claims: Claims) -> str:
        began = claims.get("workflow_ref")
        return self.text(began[0]) if isinstance(began, list) else super().began(claims)


class CallersThatAreNotTold(RightReader):
    def caller(self, view: View, claims: Claims) -> bool:
        return "workflow_ref" not in claims or super().caller(view, claims)


class CallersOfAnyRepository(RightReader):
    def callers_home(self, repository: str, claims: Claims) -> bool:
        return True


class CallersOfAnotherRepositoryByJob(RightReader):
    def binds(self, view: View) -> str:
        return "job" if WORKFLOWS in view["workflow_file"] else super().binds(view)


class CallersOfAnyFile(RightReader):
    def caller(self, view: View, claims: Claims) -> bool:
        return True


class AnyCalledFile(RightReader):
    def called(self, named: str, claims: Claims) -> bool:
        return super().called(
            re.sub(r"workflows/.*?\.yml", f"workflows/{self.split(self.ran(claims))[1]}", named), claims
        )


class CalledFilesOfAnyRepository(RightReader):
    def called_home(self, repository: str, named: str) -> bool:
        return True


class CalledRepositoriesByTheirNames(RightReader):
    def called_home(self, repository: str, named: str) -> bool:
        return self.alike(repository.rpartition("/")[2], named.rpartition("/")[2])


class CalledByLetterCase(RightReader):
    def called_home(self, repository: str, named: str) -> bool:
        return repository == named


class CalledOfAnyRef(RightReader):
    def called(self, named: str, claims: Claims) -> bool:
        return super().called(re.sub(r"(\.ya?ml)@.*", r"\1", named), claims)


class CalledByTheEndOfTheRef(RightReader):
    def called_ref(self, claims: Claims) -> str:
        return self.ran(claims).rpartition("@")[2]


class CalledByTheRunsRef(RightReader):
    def called_ref(self, claims: Claims) -> str:
        return self.text(claims.get("ref"))


class CalledByTheNameOfTheRef(RightReader):
    def called(self, named: str, claims: Claims) -> bool:
        ref = super().called_ref(claims).rpartition("/")[2]
        return super().called(named, claims) or super().called(re.sub("@refs/.*/", "@", named), {
            **claims, "job_workflow_ref": re.sub("@refs/.*", f"@{ref}", self.ran(claims)),
        })  # fmt: skip


class CalledFilesWithoutAnAt(RightReader):
    def called(self, named: str, claims: Claims) -> bool:
        return named.count("@") < 2 and super().called(named, claims)


class CalledAlone(RightReader):
    def may_call(self, view: View, claims: Claims) -> bool:
        named = view.get("called_workflow")
        return self.called(named, claims) if named is not None else super().may_call(view, claims)


class NothingIsAny(RightReader):
    def called(self, named: str, claims: Claims) -> bool:
        return named != "*" and super().called(named, claims)


# Runner, event, package and action


class AnyRunner(RightReader):
    def runner(self, view: View, claims: Claims) -> bool:
        return True


class AnyRunnerThatIsNotTold(RightReader):
    def runner(self, view: View, claims: Claims) -> bool:
        return "runner_environment" not in claims or super().runner(view, claims)


class AnyRunnerInAList(RightReader):
    def runner(self, view: View, claims: Claims) -> bool:
        return isinstance(claims.get("runner_environment"), list) or super().runner(view, claims)


class RunnersInAnyLetterCase(RightReader):
    def runner(self, view: View, claims: Claims) -> bool:
        return super().runner(view, {**claims, "runner_environment": str(claims.get("runner_environment")).lower()})


class SelfHostedWhereAnyIsWanted(RightReader):
    def runner(self, view: View, claims: Claims) -> bool:
        return view.get("runner") == "self-hosted" or super().runner(view, claims)


class AnyEventThatIsNotForbidden(RightReader):
    def events(self, view: View, claims: Claims) -> bool:
        return True


class NoEventsAreAnyEvent(RightReader):
    def events(self, view: View, claims: Claims) -> bool:
        return not view.get("events") or super().events(view, claims)


class TheFirstEventOnly(RightReader):
    def events(self, view: View, claims: Claims) -> bool:
        return "events" not in view or claims["event_name"] in view["events"][:1]


class EventsInAnyLetterCase(RightReader):
    def events(self, view: View, claims: Claims) -> bool:
        return super().events(view, {**claims, "event_name": self.text(claims["event_name"]).lower()})


class EventsThatBeginAlike(RightReader):
    def events(self, view: View, claims: Claims) -> bool:
        return "events" not in view or self.text(claims["event_name"]).startswith(tuple(view["events"]))


class AdmittedEventsAreNotForbidden(RightReader):
    def answer(self, case: Mapping[str, Any]) -> dict[str, object]:
        admitted = {event for view in case["views"] for event in view.get("events", ())}
        forbidden = set(case.get("settings", {}).get("forbidden_events", self.forbidden)) - admitted
        return super().answer({**case, "settings": {**case.get("settings", {}), "forbidden_events": forbidden}})


class ForbiddenEventsOfItsOwn(RightReader):
    def may_start(self, claims: Claims) -> bool:
        return claims.get("event_name") not in self.forbidden


class ForbiddenEventsBesideItsOwn(RightReader):
    def may_start(self, claims: Claims) -> bool:
        return super().may_start(claims) and claims.get("event_name") not in self.forbidden


class OwnersInTheFilesLetterCase(RightReader):
    def alike(self, one: str, other: str) -> bool:
        return one == other if self.settings.get("workflow_file_case") == "exact" else super().alike(one, other)


class AnyPackage(RightReader):
    def packages(self, view: View) -> bool:
        return True


class NoPackagesAreAnyPackage(RightReader):
    def packages(self, view: View) -> bool:
        return not view.get("packages") or super().packages(view)


class NothingWherePackagesAreAskedOfNobody(RightReader):
    def packages(self, view: View) -> bool:
        return ("packages" not in view or self.package is not None) and super().packages(view)


class TheFirstPackageOnly(RightReader):
    def packages(self, view: View) -> bool:
        return super().packages({**view, "packages": view["packages"][:1]} if "packages" in view else view)


class PackagesThatBeginAlike(RightReader):
    def names(self, pattern: str, package: str) -> bool:
        return package.lower().startswith(pattern.lower().partition("*")[0])


class PackagesWithAnythingAfter(RightReader):
    def names(self, pattern: str, package: str) -> bool:
        return super().names(f"{pattern}*", package)


class PackagesThatEndAlike(RightReader):
    def names(self, pattern: str, package: str) -> bool:
        return super().names(f"*{pattern}", package)


class PackagesThatThePatternBeginsAs(RightReader):
    def names(self, pattern: str, package: str) -> bool:
        return pattern.lower().startswith(package.lower()) or super().names(pattern, package)


class PackagesByLetterCase(RightReader):
    def names(self, pattern: str, package: str) -> bool:
        return re.fullmatch(self.expression(pattern, ".*"), package, re.DOTALL) is not None


class PackagesInLowerCase(RightReader):
    def names(self, pattern: str, package: str) -> bool:
        return super().names(pattern.lower(), package.lower())


class PackagesInAsciiCase(RightReader):
    def names(self, pattern: str, package: str) -> bool:
        lower = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
        return re.fullmatch(self.expression(pattern.translate(lower), ".*"), package.translate(lower)) is not None


class PackagesWithAnyDot(RightReader):
    def names(self, pattern: str, package: str) -> bool:
        return re.fullmatch(self.expression(pattern.lower(), ".*").replace(r"\.", "."), package.lower()) is not None


class PackagesWithAQuestionMark(RightReader):
    def names(self, pattern: str, package: str) -> bool:
        return re.fullmatch(self.expression(pattern.lower(), ".*", "."), package.lower()) is not None


class PackagesWithoutASlashInAStar(RightReader):
    def names(self, pattern: str, package: str) -> bool:
        return super().names(pattern, package) and pattern.count("/") == package.count("/")


class PackagesOfTheFirstPolicy(RightReader):
    def packages(self, view: View) -> bool:
        return True

    def choose(self, passing: list[View]) -> View | None:
        first = super().choose(passing)
        return first if first is not None and RightReader.packages(self, first) else None


class AnyAction(RightReader):
    def actions(self, view: View) -> bool:
        return True


class NoActionsAreAnyAction(RightReader):
    def actions(self, view: View) -> bool:
        return not view.get("actions") or super().actions(view)


class TheFirstActionOnly(RightReader):
    def actions(self, view: View) -> bool:
        return super().actions({**view, "actions": view["actions"][:1]} if "actions" in view else view)


class ActionsInAnyLetterCase(RightReader):
    def actions(self, view: View) -> bool:
        return self.action is None or "actions" not in view or self.action.lower() in view["actions"]


class ActionsAsPatterns(RightReader):
    def actions(self, view: View) -> bool:
        return "*" in view.get("actions", ()) or super().actions(view)


class NothingWhereActionsAreAskedOfNobody(RightReader):
    def actions(self, view: View) -> bool:
        return ("actions" not in view or self.action is not None) and super().actions(view)


class NoSwitch(RightReader):
    def held(self, view: View) -> bool:
        return False


class TheSwitchOfAllOnly(RightReader):
    def scopes(self, view: View) -> set[str]:
        return {"all"}


class NoSwitchOfAll(RightReader):
    def scopes(self, view: View) -> set[str]:
        return super().scopes(view) - {"all"}


class NoSwitchOfAnIssuer(RightReader):
    def scopes(self, view: View) -> set[str]:
        return {scope for scope in super().scopes(view) if not scope.startswith("issuer:")}


class NoSwitchOfAnOwner(RightReader):
    def scopes(self, view: View) -> set[str]:
        return {scope for scope in super().scopes(view) if not scope.startswith("owner:")}


class NoSwitchOfARepository(RightReader):
    def scopes(self, view: View) -> set[str]:
        return {scope for scope in super().scopes(view) if not scope.startswith("repository:")}


class NoSwitchOfACreator(RightReader):
    def scopes(self, view: View) -> set[str]:
        return {scope for scope in super().scopes(view) if not scope.startswith("creator:")}


class NoSwitchOfAPackageOwner(RightReader):
    def scopes(self, view: View) -> set[str]:
        return {scope for scope in super().scopes(view) if not scope.startswith("package_owner:")}


class AnySwitchClosesEverything(RightReader):
    def held(self, view: View) -> bool:
        return bool(self.switches)


class AccountsOfSwitchesInAnyLetterCase(RightReader):
    def held(self, view: View) -> bool:
        return not {scope.lower() for scope in self.scopes(view)}.isdisjoint(map(str.lower, self.switches))


class NoConditionAtAll(RightReader):
    def passes(self, view: View, claims: Claims, near: list[View], now: datetime) -> bool:
        names = (
            "refs",
            "ref_protected",
            "workflow_binds",
            "called_workflow",
            "runner",
            "events",
            "packages",
            "actions",
            "issuer",
        )
        return super().passes({n: v for n, v in view.items() if n not in names}, claims, near, now)


# Instances of GitHub


class AnyInstance(RightReader):
    def issued(self, view: View, claims: Claims) -> bool:
        return True


class InstanceOnlyWhereThePolicyNamesOne(RightReader):
    def issued(self, view: View, claims: Claims) -> bool:
        return "issuer" not in view or super().issued(view, claims)


class InstanceOnlyWhereThePolicyNamesNone(RightReader):
    def issued(self, view: View, claims: Claims) -> bool:
        return "issuer" in view or super().issued(view, claims)


class DefaultInstanceOnly(RightReader):
    def issued(self, view: View, claims: Claims) -> bool:
        return "issuer" not in view and super().issued(view, claims)


class StrangersAreOfTheDefaultInstance(RightReader):
    def of_issuer(self, issuer: Any, issuers: Mapping[str, str]) -> str | None:
        return super().of_issuer(issuer, issuers) or "github"


class NoIssuerIsTheDefaultOne(RightReader):
    def without_issuer(self, aliases: set[str]) -> str | None:
        return "github"


class IssuerAlwaysRequired(RightReader):
    def without_issuer(self, aliases: set[str]) -> str | None:
        return None


class IssuerRequiredWhereNoneIsConfigured(RightReader):
    required = (*REQUIRED, "iss")


class IssuerLookedAtWhereNoneIsConfigured(RightReader):
    def instance(self, claims: Claims) -> str | None:
        common = {"https://token.actions.githubusercontent.com": "github"}
        return self.of_issuer(claims.get("iss"), self.settings.get("issuers") or common)


class OneIssuerOfEachInstance(RightReader):
    def of_issuer(self, issuer: Any, issuers: Mapping[str, str]) -> str | None:
        first = {alias: url for url, alias in reversed(list(issuers.items()))}
        return super().of_issuer(issuer, {url: alias for alias, url in first.items()})


class IssuersThatBeginAlike(RightReader):
    def of_issuer(self, issuer: Any, issuers: Mapping[str, str]) -> str | None:
        return next(
            (alias for url, alias in issuers.items() if isinstance(issuer, str) and issuer.startswith(url)), None
        )


class IssuersThatEndAlike(RightReader):
    def of_issuer(self, issuer: Any, issuers: Mapping[str, str]) -> str | None:
        return next((alias for url, alias in issuers.items() if isinstance(issuer, str) and issuer.endswith(url)), None)


class IssuersByTheirHosts(RightReader):
    def of_issuer(self, issuer: Any, issuers: Mapping[str, str]) -> str | None:
        hosts = {url.split("/")[2]: alias for url, alias in issuers.items()}
        return hosts.get(issuer.split("/")[2]) if isinstance(issuer, str) and issuer.count("/") > 1 else None


class IssuersInAnyLetterCase(RightReader):
    def of_issuer(self, issuer: Any, issuers: Mapping[str, str]) -> str | None:
        return super().of_issuer(issuer.lower() if isinstance(issuer, str) else issuer, issuers)


class IssuersWithASlash(RightReader):
    def of_issuer(self, issuer: Any, issuers: Mapping[str, str]) -> str | None:
        return super().of_issuer(issuer.rstrip("/") if isinstance(issuer, str) else issuer, issuers)


class IssuersWithBlanks(RightReader):
    def of_issuer(self, issuer: Any, issuers: Mapping[str, str]) -> str | None:
        return super().of_issuer(issuer.strip() if isinstance(issuer, str) else issuer, issuers)


class IssuersInAList(RightReader):
    def of_issuer(self, issuer: Any, issuers: Mapping[str, str]) -> str | None:
        return super().of_issuer(issuer[0] if isinstance(issuer, list) else issuer, issuers)


class IssuersByTheirAliases(RightReader):
    def of_issuer(self, issuer: Any, issuers: Mapping[str, str]) -> str | None:
        return issuer if issuer in issuers.values() else super().of_issuer(issuer, issuers)


class NamesThatAnotherInstanceContradicts(RightReader):
    def answer(self, case: Mapping[str, Any]) -> dict[str, object]:
        self.everybody = case["views"]
        return super().answer(case)

    def contradicted(self, claims: Claims, near: list[View]) -> bool:
        return super().contradicted(claims, [view for view in self.everybody if self.owner_id(view, claims)])


class SwitchesOfOwnersOfAnyInstance(RightReader):
    def owner_key(self, view: View) -> str:
        return str(view["repository_owner_id"])


class SwitchOfTheDefaultInstanceForAll(RightReader):
    def scopes(self, view: View) -> set[str]:
        return super().scopes(view) | {"issuer:github"}


def unsafe_readers() -> Iterator[type[RightReader]]:
    """Every reader of this module that is not the right one."""
    found = [*RightReader.__subclasses__()]
    for reader in found:
        found += reader.__subclasses__()
        yield reader
