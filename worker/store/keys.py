"""Every key in the store; those that an exchange reads are `tenure_reader.keys`.

The braces are literal. The keys of a partition share a slot of a cluster (contract, section 4), and so do those of the whole
installation: a script or a transaction touches one partition, or the installation's own keys, and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

from tenure_reader.keys import PartitionKeys, partition_number
from worker.lifecycle import scopes
from worker.lifecycle.logins import LoginOutcome
from worker.lifecycle.owners import DEFAULT, OwnerRef


def job(name: str) -> str:
    """Hash: the last run of a job: planned, started, finished, worker, error."""
    return f"tenure:{{all}}:job:{name}"


AUDIT = "tenure:{all}:audit"
"""Stream: what operators did, unless it is an event of the inbox. Nothing trims it."""


def audited(once: str) -> str:
    """String, kept for a while: this entry of the audit trail was written."""
    return f"tenure:{{all}}:audited:{once}"


PARTITIONS_CHANGE = "tenure:{all}:partitions-change"
"""Hash: what is being done to get another number of partitions, while that is not finished."""


SWITCHES = "tenure:{all}:switches"
"""Hash: scope → what its switch is intended to be (`intend.lua`)."""
SWITCHES_UNFINISHED = "tenure:{all}:switches-unfinished"
"""Sorted set: scopes whose switches some partition may not follow yet."""
SWITCHES_NUMBER = "tenure:{all}:switches-number"
"""String: how many intents there were."""


REPLAYS = "tenure:{all}:replays"
"""Sorted set: replays by when they were started."""


def replay(batch: str, part: str) -> str:
    """A replay: `state` (hash), `pending` and `done` (sorted sets of its letters)."""
    return f"tenure:{{all}}:replay:{batch}:{part}"


def dry_run(token: str) -> str:
    """How far a dry run is."""
    return f"tenure:{{all}}:dry-run:{token}"


def selection(token: str) -> str:
    """String, short-lived: the letters that somebody was shown and may act on, as JSON."""
    return f"tenure:{{all}}:selection:{token}"


ANSWERED = "tenure:{all}:answered"
"""Channel: ids of events that somebody waits for, when they are settled or given up on."""


LEDGER_SINCE = "tenure:{all}:ledger-since"
"""String: when the ledger of events was begun, µs."""


CLOCK = "tenure:{all}:clock"
"""String: the time that was last shown, and the server's clock then, µs: time never goes back (`_moment.lua`)."""


EPOCH = "tenure:{all}:epoch"
"""Hash: `store` (its id), `epoch`, `beats`, and what is known of the last time that the store went back (`pulse.lua`)."""


CLOCK_RESET = "tenure:{all}:clock-reset"
"""String: by how much time was ahead when an operator reset it, µs, until everything is dated anew."""


def hold(name: str) -> str:
    """String, short-lived: who is doing what only one should do at a time."""
    return f"tenure:{{all}}:hold:{name}"


def alive(role: str) -> str:
    """Sorted set: processes of a role (worker or scheduler) by when they were last seen."""
    return f"tenure:{{all}}:alive:{role}"


class GitHubKeys(NamedTuple):
    """What is noted of one instance of GitHub: `tenure:{all}:github:…`, and `tenure:{github/<alias>}:…` of another than the default one,
    which is in one slot.
    """

    issuer: str

    @property
    def prefix(self) -> str:
        return "tenure:{all}:github:" if self.issuer == DEFAULT else f"tenure:{{github/{self.issuer}}}:"

    @property
    def missing(self) -> str:
        """Sorted set: scopes that GitHub said not to know, by when it first did."""
        return f"{self.prefix}missing"

    @property
    def suspects(self) -> str:
        """Sorted set: those of them that nobody had expected to be gone and nobody believes yet, by when they were last looked for."""
        return f"{self.prefix}suspects"

    @property
    def lost(self) -> str:
        """Sorted set: those that were believed to be gone, by when that was believed."""
        return f"{self.prefix}lost"

    @property
    def asked(self) -> str:
        """Sorted set: owners that had been verified for a day when they were asked about, by when that was last."""
        return f"{self.prefix}asked-owners"

    @property
    def losing(self) -> str:
        """Sorted set: those of them that have lost something that nobody can explain, by when it was last found missing."""
        return f"{self.prefix}losing-owners"

    @property
    def breaker(self) -> str:
        """Hash: `open_since`, `passing_until`."""
        return f"{self.prefix}breaker"

    @property
    def installations(self) -> str:
        """Hash: GitHub owner id → its installation of the App."""
        return f"{self.prefix}installations"

    @property
    def installations_at(self) -> str:
        """String: when that was last read from GitHub."""
        return f"{self.prefix}installations-at"

    @property
    def app_deliveries(self) -> str:
        """String: the address of GitHub's page of the App's deliveries, as the doctor found it."""
        return f"{self.prefix}app-deliveries"

    @property
    def installations_doubted(self) -> str:
        """Hash: GitHub owner id → when its installation did not let us in, since the list was read."""
        return f"{self.prefix}installations-doubted"

    @property
    def budgets(self) -> str:
        """Hash: installation id → what GitHub said of its limits."""
        return f"{self.prefix}budgets"

    @property
    def trouble(self) -> str:
        """Hash: failed calls in a row, the last failure, and since when."""
        return f"{self.prefix}trouble"

    @property
    def deliveries(self) -> str:
        """Hash: guid of a webhook that did not reach us → what was done about it."""
        return f"{self.prefix}deliveries"

    @property
    def deliveries_seen(self) -> str:
        """String: up to when failed deliveries were looked for."""
        return f"{self.prefix}deliveries-seen"


CONSUMERS = "tenure:{all}:consumers"
"""Hash: name of a consumer of the feed → whose it is, and up to where it acknowledged."""


def session(digest: str) -> str:
    """String, for as long as a login lasts: who is logged in at the console, by the digest of the cookie."""
    return f"tenure:{{all}}:session:{digest}"


def login_code(digest: str) -> str:
    """String, short-lived: a code that logs in once, by its digest."""
    return f"tenure:{{all}}:login-code:{digest}"


def login_attempts(who: str) -> str:
    """String, short-lived: how often somebody has tried to log in."""
    return f"tenure:{{all}}:login-attempts:{who}"


def samples(step: int) -> str:
    """Stream of a fixed length: the installation's vital signs, every so many seconds."""
    return f"tenure:{{all}}:samples:{step}"


def _at(issuer: str) -> str:
    return "" if issuer == DEFAULT else f":{issuer}"


class Partition(PartitionKeys):
    """All keys of one partition: those that an exchange reads, and Tenure's own."""

    __slots__ = ()

    def policy(self, policy_id: str) -> str:
        """String: stamp, newline, record; of a policy that has left for another partition, for a moment, where it goes
        (`leave.lua`).
        """
        return f"{self.prefix}policy:{policy_id}"

    def history(self, policy_id: str) -> str:
        """List: what was published of one policy, newest first."""
        return f"{self.prefix}history:{policy_id}"

    def logins(self, outcome: LoginOutcome, policy_id: str) -> str:
        """Hash: a policy's logins of one outcome, as they are counted (`count.lua`), in the partition whose directory names
        the policy. A login that was refused is no step of it.
        """
        return f"{self.prefix}logins:{outcome.value}:{policy_id}"

    @property
    def counted(self) -> str:
        """Sorted set: events whose logins were counted lately, by when that was."""
        return f"{self.prefix}counted"

    @property
    def due(self) -> str:
        """Sorted set: policy id by when the clock should look at it."""
        return f"{self.prefix}due"

    @property
    def all(self) -> str:
        """Sorted set, all scores equal: every policy of the partition that was not removed."""
        return f"{self.prefix}policies"

    @property
    def placing(self) -> str:
        """Hash: index of policies whose views are to be placed anew → the id after which to go on."""
        return f"{self.prefix}placing"

    @property
    def followed(self) -> str:
        """String: the number of the newest intent that was known to whoever had the partition follow its switches."""
        return f"{self.prefix}switches-followed"

    def owners(self, issuer: str) -> str:
        """Sorted set: owners at an instance of GitHub that have policies, by when all of them were last verified; 0 for never."""
        return f"{self.prefix}owners{_at(issuer)}"

    def scope_index(self, scope: str) -> str:
        """Sorted set, all scores equal: the ids of the policies that watch a scope."""
        return f"{self.prefix}index:{scope}"

    def former_names(self, scope: str) -> str:
        """Sorted set, all scores equal: those of a name's index whose repository has another name now."""
        return self.scope_index(f"former:{scope}")

    def observed(self, keeper: str) -> str:
        """Hash: subject → its newest observation, for policies that are registered or bound later; all of a GitHub
        owner in one, all of any other scope in one. A release before this one had one for each scope.
        """
        return f"{self.prefix}observed:{keeper}"

    def observed_by_worth(self, keeper: str) -> str:
        """Sorted set: the same subjects, those first that are forgotten first."""
        return f"{self.prefix}observed-by-worth:{keeper}"

    @property
    def counters(self) -> str:
        """Hash: what happened, counted by the scripts that made it happen."""
        return f"{self.prefix}counters"

    def checks(self, issuer: str) -> str:
        """Sorted set: owners at an instance of GitHub by when they may be checked."""
        return f"{self.prefix}checks{_at(issuer)}"

    def checking(self, issuer: str) -> str:
        """Sorted set: those that are being checked, by when the lease of that ends."""
        return f"{self.prefix}checking{_at(issuer)}"

    def wanted(self, owner_id: OwnerRef | str) -> str:
        """Hash: what is to be checked of an owner, a scope → when it was last asked for."""
        return f"{self.prefix}wanted:{owner_id}"

    def owner(self, owner_id: OwnerRef | str) -> str:
        """Hash: what is noted of a GitHub owner, of its checks and its size."""
        return f"{self.prefix}owner:{owner_id}"

    def event(self, event_id: str) -> str:
        """Hash: an event of the inbox."""
        return f"{self.prefix}inbox:event:{event_id}"

    def body(self, event_id: str, written: str) -> str:
        """String: a large body of an event of the inbox, as it was written once; it expires unless the event keeps it."""
        return f"{self.prefix}inbox:body:{event_id}:{written}"

    def came(self, event_id: str) -> str:
        """List: what came in this partition of an event that waits in another, until that is settled."""
        return f"{self.prefix}came:{event_id}"

    def waiting(self, lane: str) -> str:
        """Sorted set: ids of the inbox's unsettled events by when they may next be claimed; those that go before others
        are a year early (`inbox.AHEAD`).
        """
        return f"{self.prefix}inbox:waiting:{lane}"

    def woken(self, lane: str) -> str:
        """String, short-lived: a worker has been woken for this lane and has not looked yet."""
        return f"{self.prefix}inbox:rung:{lane}"

    @property
    def dead(self) -> str:
        """Sorted set: ids of dead letters by when they were given up on."""
        return f"{self.prefix}inbox:dead"

    def settled(self, event_id: str) -> str:
        """String, for some days: this event was settled, by a release before the ledger."""
        return f"{self.prefix}inbox:settled:{event_id}"

    def said(self, event_id: str) -> str:
        """String: that a CloudEvent of this id waits, and a digest of what it says (`put.lua`)."""
        return f"{self.prefix}inbox:said:{event_id}"

    def reserved(self, event_id: str) -> str:
        """String, short-lived: the same, of one whose batch is being taken (`agree.lua`)."""
        return f"{self.prefix}inbox:reserved:{event_id}"

    def shelf(self, number: int) -> tuple[str, str]:
        """Hashes: the newer and the older part of a shelf of the ledger of events (`_enter.lua`)."""
        return f"{self.prefix}ledger:{number}", f"{self.prefix}ledger:{number}:older"

    @property
    def ledger_since(self) -> str:
        """String: up to when shelves of this partition have forgotten events, µs."""
        return f"{self.prefix}ledger-since"

    @property
    def clock(self) -> str:
        """String: the same as `CLOCK`, for what is dated in this partition."""
        return f"{self.prefix}clock"

    @property
    def beats(self) -> str:
        """String: how often it was noted that the node lives on of which this partition counts (`live.lua`)."""
        return f"{self.prefix}beats"

    @property
    def audit(self) -> str:
        """Stream: what operators did by events of this partition's inbox. Nothing trims it."""
        return f"{self.prefix}audit"

    @property
    def stamp(self) -> str:
        """String: the last date given in this partition: to an event, or to what is learnt otherwise."""
        return f"{self.prefix}inbox:stamp"


class Keyspace(NamedTuple):
    """All partitions of one installation."""

    partitions: int

    def of(self, key: OwnerRef | str) -> Partition:
        """The partition of a GitHub owner, or of any text that has none."""
        return Partition(partition_number(key, self.partitions))

    def directory(self, policy_id: str) -> Partition:
        """The partition whose directory says where a policy is; how its logins are counted is there, too."""
        return self.of(policy_id)

    def home_of_scope(self, scope: str) -> Partition:
        """Where the observations of a scope are kept."""
        owner_id = scopes.owner_id_of(scope)
        return self.of(scope if owner_id is None else owner_id)

    def all(self) -> list[Partition]:
        return [Partition(number) for number in range(self.partitions)]
