"""What happens in the circle, and what must come of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import httpx

from examples.circle.stage import OTHER_PACKAGE, PACKAGE_OWNER, Circle
from worker.demo import payloads
from worker.demo.payloads import Repo, organization, person

ADA = person(900_000_000_000_000_001, "ada")
ENGINES = organization(600_613, "engines")
ENGINE = Repo(9_007_199_254_740_993, "difference-engine", ENGINES)
POLICY = "engine"
PATIENCE_SECONDS = 20.0
REFUSED_WITHIN = 1.0
"""Seconds from the webhook that takes access away until nothing can be published."""


def run_claims(repository: Repo = ENGINE, **changed: object) -> dict[str, object]:
    """What GitHub says of a run of the release workflow."""
    full_name = f"{repository.owner.login}/{repository.name}"
    return {
        "sub": f"repo:{full_name}:ref:refs/heads/main",
        "repository": full_name,
        "repository_id": str(repository.id),
        "repository_owner": repository.owner.login,
        "repository_owner_id": str(repository.owner.id),
        "repository_visibility": "private",
        "workflow": "release",
        "workflow_ref": f"{full_name}/.github/workflows/release.yml@refs/heads/main",
        "job_workflow_ref": f"{full_name}/.github/workflows/release.yml@refs/heads/main",
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "event_name": "push",
        "actor": "ada",
        "actor_id": str(ADA.id),
        "run_id": "4711",
        "run_attempt": "1",
        "runner_environment": "github-hosted",
        **changed,
    }


class Story:
    def __init__(self, circle: Circle, say: Callable[[str], None]) -> None:
        self._circle = circle
        self._say = say
        self.problems: list[str] = []
        self.refused_after = 0.0
        """Seconds from the webhook until a key that was minted before it was refused."""

    def play(self) -> None:
        self._first_publish()
        spare = self._permanent()
        self._member_leaves(spare)
        self._member_returns(spare)
        self._strangers()
        self._some_packages()
        self._expect(
            self._circle.published() == ["1.0.0", "1.1.0", "1.2.0", "1.3.0"],
            "the index offers 1.0.0, 1.1.0, 1.2.0 and 1.3.0",
        )

    def _first_publish(self) -> None:
        self._chapter("A private repository's first publish")
        status = self._circle.tenure.event("policy.registered", payloads.registration(POLICY, ENGINE, ADA))
        self._expect(status == 202, "ada's policy is registered")
        self._until("provisional")
        self._publishes("1.0.0", self._key())

    def _permanent(self) -> str:
        self._until("active")
        self._chapter("It has proven itself, and goes on")
        self._publishes("1.1.0", self._key())
        return self._key()

    def _member_leaves(self, spare: str) -> None:
        self._chapter("ada leaves the organisation")
        self._expect(self._circle.good(spare), "a key that was minted before, and not used yet, is good")
        begun = time.monotonic()
        status = self._circle.tenure.webhook("organization", payloads.about_member("member_removed", ENGINES, ADA, ADA))
        while self._circle.good(spare) and time.monotonic() - begun < PATIENCE_SECONDS:
            pass
        self.refused_after = time.monotonic() - begun
        self._expect(
            status == 202 and self.refused_after < REFUSED_WITHIN,
            f"{self.refused_after * 1000:.0f} ms after GitHub's webhook was sent, that key is good no more",
        )
        self._is_refused("1.1.1", spare, "twine's upload with it is refused")
        self._no_key(403, "a new token gets no key")

    def _member_returns(self, spare: str) -> None:
        self._chapter("ada comes back")
        self._circle.tenure.webhook("organization", payloads.about_member("member_added", ENGINES, ADA, ADA))
        self._until("active")
        self._expect(not self._circle.good(spare), "the old key stays dead")
        key = self._key()
        self._publishes("1.2.0", key)
        upload = self._circle.upload("9.9.9", key, package="of-somebody-else")
        self._expect(not upload.done, "it publishes nothing of another owner's")

    def _strangers(self) -> None:
        self._chapter("Others who come with real tokens")
        token = self._circle.issuer.token(**run_claims())
        self._expect(self._circle.login("ada", token).status_code == 200, "a token gives a key")
        self._expect(self._circle.login("ada", token).status_code == 401, "and no second one")
        self._no_key(403, "a repository that was made again under the name gets none", ENGINE._replace(id=6_004))
        resurrected = ENGINE._replace(owner=replace(ENGINES, id=700_001), id=6_005)
        self._no_key(403, "nor does an owner who took the login of one who left", resurrected)
        self._no_key(403, "nor does a run on a stranger's pull request", event_name="pull_request_target")
        self._no_key(401, "nor does a token for another audience", aud="https://elsewhere.example")
        self._refusals()

    def _refusals(self) -> None:
        """What the exchange refused under ada's policy; the others were nobody's."""
        wanted = {"disabled", "replayed", "event_forbidden"}
        begun = time.monotonic()
        counted: dict[str, int] = {}
        while counted.keys() != wanted and time.monotonic() - begun < PATIENCE_SECONDS:
            counted = self._circle.tenure.refusals(POLICY)
        told = ", ".join(f"{code} {count}" for code, count in counted.items())
        self._expect(counted.keys() == wanted, f"the policy's page says why its tokens were refused: {told}")

    def _some_packages(self) -> None:
        self._chapter("A policy for some packages")
        data = payloads.registration(POLICY, ENGINE, ADA) | {"packages": ["widgets-*"], "actions": ["publish"]}
        self._circle.tenure.event("policy.updated", data)
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE_SECONDS:
            grant = self._circle.reader.evaluate(run_claims()).grant
            if grant is not None and "packages" in grant:
                break
        key = self._key()
        upload = self._circle.upload("1.0.0", key, package=OTHER_PACKAGE)
        self._expect(not upload.done and "403" in upload.output, f"a key for widgets-* publishes no {OTHER_PACKAGE}")
        self._publishes("1.3.0", key)

    # What is done again and again

    def _key(self) -> str:
        """A run's key. The exchange may hear of a change some milliseconds after a reader of the store sees it."""
        deadline = time.monotonic() + REFUSED_WITHIN
        while True:
            answer = self._circle.login("ada", self._circle.issuer.token(**run_claims()))
            if answer.status_code != httpx.codes.FORBIDDEN or time.monotonic() > deadline:
                break
        if answer.status_code == httpx.codes.OK:
            return str(answer.json()["apiKey"])
        self._expect(False, f"a run of the release workflow gets a key, not {answer.status_code}: {answer.text}")
        return ""

    def _no_key(self, status: int, says: str, repository: Repo = ENGINE, **claims: object) -> None:
        answer = self._circle.login("ada", self._circle.issuer.token(**run_claims(repository, **claims)))
        error = str(answer.json().get("error", ""))
        self._expect(answer.status_code == status and bool(error), f"{says}: {error}")

    def _publishes(self, version: str, key: str) -> None:
        upload = self._circle.upload(version, key)
        self._expect(
            upload.done, f"twine publishes {version} for {PACKAGE_OWNER}{'' if upload.done else upload.output}"
        )

    def _is_refused(self, version: str, key: str, says: str) -> None:
        upload = self._circle.upload(version, key)
        self._expect(not upload.done and "403" in upload.output, says)

    def _until(self, state: str) -> None:
        """Until readers see the policy in this state."""
        begun = time.monotonic()
        page = ""
        while page != state and time.monotonic() - begun < PATIENCE_SECONDS:
            decision = self._circle.reader.evaluate(run_claims())
            page = decision.grant["state"] if decision.grant else ""
        took = (time.monotonic() - begun) * 1000
        self._expect(page == state, f"the policy is {state}" if took < 1 else f"the policy is {state} ({took:.0f} ms)")

    def _chapter(self, title: str) -> None:
        self._say(f"\n{title}")

    def _expect(self, happened: bool, says: str) -> None:
        self._say(f"  {'✓' if happened else '✗'} {says}")
        if not happened:
            self.problems.append(says)
