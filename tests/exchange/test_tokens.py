"""Which tokens give a key. Everything here is asked of a running exchange, over HTTP."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from examples.circle.issuer import AUDIENCE, Issuer
from examples.exchange.issuer import SPACING_SECONDS
from tests.exchange.service import RUN, Service
from tests.reader.world import REPOSITORY, World
from tests.support import registration_data
from tests.web.site import Site
from worker.local.valkey import free_port


@pytest.fixture(autouse=True)
def policy(world: World) -> None:
    world.register(visibility="public")


def test_a_right_token_gives_a_key_in_the_shape_that_login_actions_expect(service: Service) -> None:
    before = time.time()
    answer = service.login()
    assert answer.status_code == 200
    told = answer.json()
    assert set(told) == {"tokenType", "expires", "apiKey"}
    assert told["tokenType"] == "ApiKey"
    expires = time.mktime(time.strptime(told["expires"][:19] + "UTC", "%Y-%m-%dT%H:%M:%S%Z")) - time.timezone
    assert before < expires <= time.time() + 3600
    assert service.good(told["apiKey"])


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def signed_by_hand(issuer: Issuer, header: dict[str, object], secret: bytes) -> str:
    """HS256, as who has only the public key would do."""
    signed = f"{encoded(header)}.{encoded(issuer.claims(**RUN))}"
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def hostile() -> dict[str, Callable[[Issuer], str]]:
    def public(issuer: Issuer, encoding: Encoding) -> bytes:
        return issuer.key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)

    def other_key(issuer: Issuer) -> str:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return jwt.encode(issuer.claims(**RUN), key, "RS256", {"kid": issuer.kid})

    def elliptic(issuer: Issuer) -> str:
        return jwt.encode(issuer.claims(**RUN), ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": issuer.kid})

    def header(issuer: Issuer, **changed: object) -> str:
        return jwt.encode(issuer.claims(**RUN), issuer.key, "RS256", {"kid": issuer.kid, **changed})

    def tampered(issuer: Issuer) -> str:
        head, _, signature = issuer.token(**RUN).split(".")
        return f"{head}.{encoded(issuer.claims(**RUN, actor='mallory'))}.{signature}"

    return {
        "alg none": lambda i: f"{encoded({'alg': 'none', 'kid': i.kid})}.{encoded(i.claims(**RUN))}.",
        "alg None": lambda i: f"{encoded({'alg': 'NoNe', 'kid': i.kid})}.{encoded(i.claims(**RUN))}.",
        "no alg": lambda i: f"{encoded({'kid': i.kid})}.{encoded(i.claims(**RUN))}.x",
        "HS256 with the public key, PEM": lambda i: signed_by_hand(
            i, {"alg": "HS256", "kid": i.kid}, public(i, Encoding.PEM)
        ),
        "HS256 with the public key, DER": lambda i: signed_by_hand(
            i, {"alg": "HS256", "kid": i.kid}, public(i, Encoding.DER)
        ),
        "RS256 said, HS256 done": lambda i: signed_by_hand(i, {"alg": "RS256", "kid": i.kid}, public(i, Encoding.PEM)),
        "RS512": lambda i: jwt.encode(i.claims(**RUN), i.key, "RS512", {"kid": i.kid}),
        "PS256": lambda i: jwt.encode(i.claims(**RUN), i.key, "PS256", {"kid": i.kid}),
        "ES256": elliptic,
        "another key under the right id": other_key,
        "no key id": lambda i: jwt.encode(i.claims(**RUN), i.key, "RS256"),
        "an unknown key id": lambda i: header(i, kid="of-nobody"),
        "a key id that is no text": lambda _: f"{encoded({'alg': 'RS256', 'kid': 7})}.{encoded({})}.x",
        "its own key": lambda i: header(i, kid="mine", jwk={"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
        "something critical": lambda i: header(i, crit=["b64"], b64=True),
        "tampered": tampered,
        "wrong audience": lambda i: i.token(**RUN | {"aud": "https://elsewhere.example"}),
        "audience in another case": lambda i: i.token(**RUN | {"aud": AUDIENCE.upper()}),
        "a longer audience": lambda i: i.token(**RUN | {"aud": AUDIENCE + "/"}),
        "a list with the right audience": lambda i: i.token(**RUN | {"aud": [AUDIENCE]}),
        "two audiences": lambda i: i.token(**RUN | {"aud": [AUDIENCE, "https://elsewhere.example"]}),
        "no audience": lambda i: i.token(**RUN, aud=None),
        "another issuer": lambda i: i.token(**RUN | {"iss": "https://token.actions.githubusercontent.com"}),
        "a longer issuer": lambda i: i.token(**RUN | {"iss": i.url + "/"}),
        "a list with the right issuer": lambda i: i.token(**RUN | {"iss": [i.url]}),
        "expired 35 s ago": lambda i: i.token(**RUN | {"exp": int(time.time()) - 35}),
        "not before 40 s from now": lambda i: i.token(**RUN | {"nbf": int(time.time()) + 40}),
        "made 40 s from now": lambda i: i.token(**RUN | {"iat": int(time.time()) + 40}),
        "never expires": lambda i: i.token(**RUN, exp=None),
        "expires in a year": lambda i: i.token(**RUN | {"exp": int(time.time()) + 365 * 86_400}),
        "expires at infinity": lambda i: i.token(**RUN | {"exp": float("inf")}),
        "expires at no number": lambda i: i.token(**RUN | {"exp": float("nan")}),
        "expires at a text": lambda i: i.token(**RUN | {"exp": "4102444800"}),
        "no jti": lambda i: i.token(**RUN, jti=None),
        "an empty jti": lambda i: i.token(**RUN | {"jti": ""}),
        "a jti that is a number": lambda i: i.token(**RUN | {"jti": 7}),
        "a jti that is a list": lambda i: i.token(**RUN | {"jti": ["x"]}),
        "a jti that cannot be written": lambda i: i.token(**RUN | {"jti": "\ud800"}),
        "a jti of blanks": lambda i: i.token(**RUN | {"jti": "  "}),
        "a jti with a line's end": lambda i: i.token(**RUN | {"jti": "a\n"}),
        "a jti with a character of control": lambda i: i.token(**RUN | {"jti": "a\x00b"}),
        "an endless jti": lambda i: i.token(**RUN | {"jti": "x" * 5000}),
        "an endless token": lambda i: i.token(**RUN, more="x" * 20_000),
        "two parts": lambda i: ".".join(i.token(**RUN).split(".")[:2]),
        "no token": lambda _: "x",
        "dots": lambda _: "..",
        "letters of the world": lambda _: "ä.ö.ü",
    }


def test_a_hostile_token_is_refused(service: Service, issuer: Issuer) -> None:
    for name, made in hostile().items():
        answer = service.login(made(issuer))
        assert answer.status_code == 401, name
        assert set(answer.json()) == {"error"}, name
        assert answer.headers["www-authenticate"] == "Bearer", name
    for headers in (
        {},
        {"Authorization": "Basic eDp5"},
        {"Authorization": "Bearer"},
        {"Authorization": issuer.token(**RUN)},
    ):
        assert service.http.post("/api/v2/token", json={"username": "maria"}, headers=headers).status_code == 401
    assert not service.redis.keys("{exchange}:key:*")
    assert not service.redis.keys("{exchange}:used:*")


OTHER_RUNS: list[dict[str, object]] = [
    {"repository_owner_id": "42"},
    {"repository_id": "8"},
    {"repository_id": str(REPOSITORY + 1)},
    {"repository_id": 2**64 + REPOSITORY},
    {"repository_id": float(REPOSITORY)},
    {"repository_id": True},
    {"repository_id": None},
    {"repository_owner_id": {"id": 41}},
    {"repository": None},
    {"event_name": "pull_request_target"},
    {"event_name": "workflow_run"},
    {"event_name": None},
    {"job_workflow_ref": None},
    {"job_workflow_ref": ["octo/widgets/.github/workflows/release.yml@refs/heads/main"]},
    # What `sub` and `workflow_ref` say is not looked at.
    {"sub": "repo:octo/widgets:ref:refs/heads/main", "repository_id": "8"},
]


def test_a_real_token_of_another_run_is_refused(service: Service) -> None:
    for changed in OTHER_RUNS:
        answer = service.run(**changed)
        assert answer.status_code == 403, changed
        for secret in ("release.yml", str(REPOSITORY), "pol-1", "acme"):
            assert secret not in answer.text, changed
    assert not service.redis.keys("{exchange}:key:*")


def test_a_run_of_the_policy_s_own_repository_is_told_what_the_policy_names(service: Service) -> None:
    answer = service.run(job_workflow_ref="octo/widgets/.github/workflows/other.yml@refs/heads/release.yml")
    assert answer.status_code == 403
    assert answer.json() == {"error": "the policy names release.yml; the job ran other.yml"}


def test_what_is_not_looked_at_may_be_anything(service: Service) -> None:
    odd: list[dict[str, object]] = [{"sub": "anything at all"}, {"sub": 7}, {"sub": None}, {"nbf": None}]
    for changed in odd:
        assert service.run(**changed).status_code == 200, changed


def test_clocks_may_differ_by_half_a_minute(service: Service) -> None:
    for name, off in (("exp", -25), ("nbf", 25), ("iat", 25)):
        assert service.run(**{name: int(time.time()) + off}).status_code == 200, name


def test_a_token_gives_one_key_however_many_present_it_at_once(service: Service, issuer: Issuer) -> None:
    token = issuer.token(**RUN)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: service.login(token), range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + 19 * [401]
    assert len(service.redis.keys("{exchange}:key:*")) == 1
    assert service.login(token).json() == {"error": "the token was used before"}


def test_the_use_of_a_token_is_remembered_for_longer_than_it_is_valid(service: Service, issuer: Issuer) -> None:
    jti = {"jti": "the-same"}
    assert service.run(**jti, exp=int(time.time()) + 100).status_code == 200
    assert service.run(**jti, exp=int(time.time()) + 200).status_code == 401
    (used,) = service.redis.keys("{exchange}:used:*")
    assert 130_000 < service.redis.pttl(used) < 170_000


def test_a_token_that_was_refused_is_not_used_up(service: Service, issuer: Issuer, world: World) -> None:
    token = issuer.token(**RUN | {"environment": "prod", "repository_id": "8"})
    assert service.login(token).status_code == 403
    world.register("second", repository_id=8, visibility="public")
    service.caught_up(1)
    assert service.login(token).status_code == 200


def test_of_two_policies_the_users_counts(service: Service, world: World) -> None:
    world.register("staged", environment="prod")
    service.caught_up(1)
    assert service.check(service.key()).json()["policyId"] == "pol-1"
    assert service.check(service.key(environment="PROD")).json()["policyId"] == "staged"
    assert service.login(user="olga").status_code == 403
    assert service.login(user="ACME").status_code == 200


def test_a_creator_with_policies_for_several_owners_has_to_say_which(service: Service, world: World) -> None:
    data = registration_data(repository_id=REPOSITORY, visibility="public")
    data |= {"policy_id": "other", "package_owner": {"account": "beta", "kind": "user"}}
    world.tell("policy.registered", data)
    service.caught_up(1)
    unclear = service.login(user="maria")
    assert (unclear.status_code, "several package owners" in unclear.text) == (403, True)
    for user, policy_id in (("acme", "pol-1"), ("Beta", "other")):
        key = service.login(user=user).json()["apiKey"]
        assert service.check(key).json()["policyId"] == policy_id


def test_the_user_is_needed(service: Service) -> None:
    for user in ("", None, 7, ["maria"]):
        answer = service.login(user=user)
        assert (answer.status_code, answer.json()) == (400, {"error": "username: is missing"})


def test_another_body_is_refused(service: Service) -> None:
    refused = [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" * 100_000, "application/json", 413),
        (b"[" * 60_000, "application/json", 400),
        (b'{"username": "maria", "tokenType": "Password"}', "application/json", 400),
        (b'{"username": "maria"}', "text/plain", 415),
    ]
    for content, kind, status in refused:
        headers = {"Content-Type": kind, "Authorization": f"Bearer {service.issuer.token(**RUN)}"}
        answer = service.http.post("/api/v2/token", content=content, headers=headers)
        assert answer.status_code == status, content[:50]
        assert set(answer.json()) == {"error"}


# The issuer's keys


def test_a_new_key_of_the_issuers_is_seen_at_once_and_an_old_one_goes_on(service: Service, issuer: Issuer) -> None:
    old = issuer.token(**RUN)
    service.key()
    issuer.rotate()
    service.key()
    assert service.login(old).status_code == 200
    late = issuer.token(**RUN)
    issuer.rotate(withdraw=True)
    service.key()
    assert service.login(late).status_code == 401


def test_while_the_issuer_cannot_be_reached_its_known_keys_go_on(service: Service, issuer: Issuer) -> None:
    service.key()
    issuer.broken = True
    service.key()
    answer = service.login(hostile()["an unknown key id"](issuer))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    service.key()


def test_an_answer_of_the_issuers_that_holds_no_keys_is_none(service: Service, issuer: Issuer) -> None:
    service.key()
    issuer.rotate()
    for garbled in (b"[" * 200_000, b'{"keys": [' + b"[" * 100_000, b"<html>", b'{"keys": []}', b"\xff"):
        issuer.garbled = garbled
        assert service.run().status_code == 503, garbled[:20]
    issuer.garbled = None
    service.key()


def made_up(issuer: Issuer, number: int) -> str:
    return jwt.encode(issuer.claims(**RUN), issuer.key, "RS256", {"kid": f"made-up-{number}"})


def test_made_up_key_ids_do_not_turn_the_exchange_on_the_issuer(service: Service, issuer: Issuer) -> None:
    service.key()
    before, began = issuer.asked, time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: service.login(made_up(issuer, number % 30)), range(60)))
    assert {answer.status_code for answer in answers} == {401}
    assert issuer.asked - before <= 1 + (time.monotonic() - began) / SPACING_SECONDS
    service.key()


@pytest.mark.parametrize("broken", [False, True])
def test_after_made_up_key_ids_or_an_outage_a_new_key_is_seen_at_once(
    service: Service, issuer: Issuer, broken: bool
) -> None:
    service.key()
    issuer.broken = broken
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: service.login(made_up(issuer, number)), range(20)))
    assert {answer.status_code for answer in answers} == {503 if broken else 401}
    issuer.broken = False
    issuer.rotate()
    service.key()


def test_without_any_key_of_the_issuers_nothing_is_decided(start: Callable[..., Service], issuer: Issuer) -> None:
    service = start(jwks_url=f"http://127.0.0.1:{free_port()}/")
    answer = service.login()
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_no_secret_is_kept_or_logged(
    service: Service, issuer: Issuer, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    token = issuer.token(**RUN)
    key = service.login(token).json()["apiKey"]
    service.login(token)
    service.check(key)
    assert key not in caplog.text
    assert token not in caplog.text
    kept = b""
    for name in service.redis.scan_iter("*"):
        dump = service.redis.dump(name)
        kept += name + (dump or b"")
    assert key.encode() not in kept
    assert key.encode()[4:] not in kept
