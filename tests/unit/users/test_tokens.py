"""Access tokens: what is in them, and every forgery that must not pass."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient
from jwt.utils import der_to_raw_signature

from tests.unit.users.conftest import KEY_PEM, PASSWORD, Clock, Person, mentions
from users_app import tokens
from users_app.keys import key_ring, new_key_pem

RING = key_ring(KEY_PEM)
KID = RING.signing.kid


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def signed(claims: dict[str, Any], **headers: Any) -> str:
    """Returns a token with a genuine signature, whatever it claims."""
    head = {"alg": "ES256", "typ": "JWT", "kid": KID, **headers}
    message = part(head) + b"." + part(claims)
    der = RING.signing.private.sign(message, ec.ECDSA(SHA256()))
    return (message + b"." + base64url(der_to_raw_signature(der, ec.SECP256R1()))).decode()


def part(content: dict[str, Any]) -> bytes:
    return base64url(json.dumps(content).encode())


def base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def status_with(client: FlaskClient, token: str) -> int:
    answer = client.get("/users/me", headers={"Authorization": f"Bearer {token}"})
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    return answer.status_code


def test_an_access_token_holds_what_services_check_and_no_personal_data(ada: Person) -> None:
    token = ada.tokens["access_token"]
    claims = claims_of(token)
    assert claims["iss"] == "footfall"
    assert claims["aud"] == ["users", "analytics"]
    assert claims["sub"] == str(ada.id)
    assert claims["type"] == "access"
    assert claims["role"] == "viewer"
    assert claims["scope"] == ada.tokens["scope"] == "reports:read"
    assert claims["exp"] - claims["iat"] == ada.tokens["expires_in"] == 900
    assert isinstance(claims["sid"], str)
    assert claims["jti"]
    assert not mentions(claims, "ada")


def test_the_published_key_verifies_a_token_by_its_kid(ada: Person) -> None:
    jwks = ada.client.get("/.well-known/jwks.json").get_json()
    token = ada.tokens["access_token"]
    key = jwt.PyJWKSet.from_dict(jwks)[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, ["ES256"], audience="analytics", issuer="footfall")
    assert all("d" not in each for each in jwks["keys"])


def test_what_a_forger_changes_is_tested_against_a_token_that_passes(ada: Person) -> None:
    assert status_with(ada.client, signed(claims_of(ada.tokens["access_token"]))) == 200


CLAIMS = ("iss", "aud", "sub", "sid", "type", "jti", "iat", "exp", "role", "scope")


def test_a_token_that_lacks_a_claim_is_refused(ada: Person) -> None:
    claims = claims_of(ada.tokens["access_token"])
    for lacking in CLAIMS:
        rest = {name: value for name, value in claims.items() if name != lacking}
        assert status_with(ada.client, signed(rest)) == 401, lacking


WRONG: list[tuple[str, Any]] = [
    ("iss", "elsewhere"), ("aud", ["analytics"]), ("aud", "users2"), ("exp", 1),
    ("type", "refresh"), ("type", "service"), ("type", ""), ("jti", ""), ("sid", ""),
    ("sid", "99999"), ("sid", "1" * 40), ("sid", 1), ("sub", "99999"), ("sub", "0"), ("sub", "-1"),
    ("sub", "9" * 30), ("sub", "²"), ("sub", 1), ("role", ["admin"]),
]  # fmt: skip


def test_a_token_with_a_wrong_claim_is_refused(ada: Person) -> None:
    claims = claims_of(ada.tokens["access_token"])
    for name, value in WRONG:
        assert status_with(ada.client, signed({**claims, name: value})) == 401, (name, value)


WRONG_KIDS: list[Any] = ["unknown", "", None, 5, ["x"], {}, "../../etc/passwd"]


def test_a_token_with_a_wrong_kid_is_refused(ada: Person) -> None:
    claims = claims_of(ada.tokens["access_token"])
    for kid in WRONG_KIDS:
        assert status_with(ada.client, signed(claims, kid=kid)) == 401, kid


def test_a_token_of_another_key_under_our_kid_is_refused(ada: Person) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    claims = claims_of(ada.tokens["access_token"])
    forged = jwt.encode(claims, stranger, "ES256", headers={"kid": KID})
    assert status_with(ada.client, forged) == 401


def test_alg_none_is_refused(ada: Person) -> None:
    message = part({"alg": "none", "kid": KID}) + b"." + part(claims_of(ada.tokens["access_token"]))
    assert status_with(ada.client, message.decode() + ".") == 401


def test_hs256_signed_with_the_public_key_is_refused(ada: Person) -> None:
    public = RING.signing.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = part({"alg": "HS256", "typ": "JWT", "kid": KID})
    message = head + b"." + part(claims_of(ada.tokens["access_token"]))
    mac = hmac.new(public, message, hashlib.sha256).digest()
    assert status_with(ada.client, (message + b"." + base64url(mac)).decode()) == 401


def test_the_service_token_for_analytics_is_refused_here(app: Flask, ada: Person) -> None:
    with app.app_context():
        token = tokens.service_token()
    claims = claims_of(token)
    assert claims["type"] == "service"
    assert claims["sub"] == "users"
    assert claims["scope"] == "events:write events:erase"
    assert claims["exp"] - claims["iat"] == 300
    assert status_with(ada.client, token) == 401


def test_a_refresh_token_is_no_access_token_and_the_reverse(ada: Person) -> None:
    assert status_with(ada.client, ada.tokens["refresh_token"]) == 401
    assert ada.refresh(ada.tokens["access_token"]).status_code == 400


MALFORMED = (
    ", ,", "", " ", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer ä", "Bearer a.b.c",
    "Bearer ..", "Bearer " + "x" * 7000, "Bearer eyJhbGciOiJFUzI1NiJ9.bnVsbA.AA",
)  # fmt: skip


def test_a_malformed_authorization_is_a_401(client: FlaskClient) -> None:
    for header in MALFORMED:
        answer = client.get("/users/me", headers={"Authorization": header})
        assert answer.status_code == 401, header
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.content_type == "application/problem+json"


def test_bearer_may_be_written_in_lower_case(ada: Person) -> None:
    header = {"Authorization": f"bearer {ada.tokens['access_token']}"}
    assert ada.client.get("/users/me", headers=header).status_code == 200


def test_an_expired_token_is_refused(ada: Person) -> None:
    claims = claims_of(ada.tokens["access_token"])
    claims["exp"] = claims["iat"] - 31
    assert status_with(ada.client, signed(claims)) == 401


@pytest.mark.parametrize(("ahead", "status"), [(25, 200), (60, 401)])
def test_clocks_may_differ_by_half_a_minute(ada: Person, ahead: int, status: int) -> None:
    claims = claims_of(ada.tokens["access_token"])
    claims["iat"] = int(time.time()) + ahead
    assert status_with(ada.client, signed(claims)) == status
    claims["iat"], claims["exp"] = claims["iat"] - 900, int(time.time()) + 5 - ahead
    assert status_with(ada.client, signed(claims)) == status


def test_several_keys_are_published_and_the_first_signs(make_app: Callable[..., Flask]) -> None:
    newer = new_key_pem()
    client = make_app(jwt_private_key=newer + KEY_PEM).test_client()
    ada = Person(client, "ada")
    kids = [each["kid"] for each in client.get("/.well-known/jwks.json").get_json()["keys"]]
    assert kids == [key_ring(newer).signing.kid, KID]
    assert jwt.get_unverified_header(ada.tokens["access_token"])["kid"] == kids[0]
    assert status_with(client, signed(claims_of(ada.tokens["access_token"]))) == 200


def test_the_token_answers_are_those_of_rfc_6749(ada: Person) -> None:
    form = {"grant_type": "password", "username": "ada", "password": PASSWORD}
    answer = ada.client.post("/token", data={**form, "client_id": "ignored", "scope": "x"})
    assert answer.status_code == 200
    assert set(answer.get_json()) == {
        "access_token", "token_type", "expires_in", "refresh_token", "scope",
    }  # fmt: skip
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Pragma"] == "no-cache"


ERRORS: list[tuple[dict[str, Any], str]] = [
    ({}, "invalid_request"),
    ({"grant_type": ""}, "invalid_request"),
    ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
    ({"grant_type": "password", "username": "ada"}, "invalid_request"),
    ({"grant_type": "password", "username": "ada", "password": ""}, "invalid_request"),
    ({"grant_type": "password", "username": "ada", "password": "wrong"}, "invalid_grant"),
    ({"grant_type": "password", "username": "a\0", "password": "wrong"}, "invalid_request"),
    ({"grant_type": "password", "username": ["a", "b"], "password": "x"}, "invalid_request"),
    ({"grant_type": "password", "username": "a" * 2000, "password": "x"}, "invalid_request"),
    ({"grant_type": "refresh_token"}, "invalid_request"),
    ({"grant_type": "refresh_token", "refresh_token": "nonsense"}, "invalid_grant"),
    ({"grant_type": "refresh_token", "refresh_token": "rt_" + "A" * 64}, "invalid_grant"),
    ({"grant_type": "refresh_token", "refresh_token": "rt_" + "_" * 64}, "invalid_grant"),
    ({"grant_type": "refresh_token", "refresh_token": "rt_é"}, "invalid_grant"),
]


def test_the_token_errors_are_those_of_rfc_6749(ada: Person) -> None:
    for form, error in ERRORS:
        answer = ada.client.post("/token", data=form)
        assert answer.status_code == 400, form
        assert answer.content_type == "application/json"
        assert answer.get_json()["error"] == error, form
        assert answer.get_json()["error_description"]


def test_a_json_body_at_token_is_an_invalid_request(ada: Person) -> None:
    answer = ada.client.post("/token", json={"grant_type": "password"})
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_request")


def test_a_body_too_large_at_token_is_answered_in_its_form(ada: Person) -> None:
    answer = ada.client.post("/token", data={"password": "x" * 100_000})
    assert answer.status_code == 413
    assert answer.get_json()["error"] == "invalid_request"


def test_a_key_is_loaded_once_and_not_for_each_token(
    app: Flask, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a key was parsed again")

    for module in ("users_app.keys.load_pem_private_key", "jwt.algorithms.load_pem_private_key"):
        monkeypatch.setattr(module, refuse)
    assert ada.sign_in().status_code == 200


def test_expiry_of_a_session_ends_its_access_tokens(ada: Person, moving_clock: Clock) -> None:
    moving_clock.forward(days=31)
    assert status_with(ada.client, ada.tokens["access_token"]) == 401
