"""Sign-in: who a caller is, by tokens that this lab issued and signed.

The lab's own service principal (lab.home.CLIENT_ID) owns the subscription. Others are made with ``POST
/_lab/principals``; a user-assigned identity's token is had by a job that runs as it.
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

import hmac
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt

from lab.azure.errors import ArmError
from lab.azure.store import Store
from lab.home import CLIENT_ID, CLIENT_SECRET, TENANT_ID, write_atomically

_LIFETIME_SECONDS = 3600 * 12
ROOT_OBJECT_ID = "22222222-3333-4444-5555-777777777777"
_RESOURCE_MANAGER_AUDIENCES = (
    "https://management.azure.com",
    "https://management.core.windows.net",
)
AUDIENCES: Mapping[str, tuple[str, ...]] = {
    "management": _RESOURCE_MANAGER_AUDIENCES,
    "ml": (*_RESOURCE_MANAGER_AUDIENCES, "https://ml.azure.com"),
    "storage": ("https://storage.azure.com",),
}


@dataclass(frozen=True)
class Principal:
    """Who calls: a service principal or a managed identity of the lab's tenant."""

    object_id: str
    client_id: str
    name: str = ""

    @property
    def is_root(self) -> bool:
        return self.object_id == ROOT_OBJECT_ID


class Login:
    """Issues tokens and reads them. The signing key is this lab's alone."""

    def __init__(self, store: Store, home: Path) -> None:
        self._store = store
        path = home / "signing.key"
        if not path.exists():
            write_atomically(path, secrets.token_hex(32))  # mkstemp makes it 0600
        self._key = path.read_text(encoding="utf-8")
        store.put(
            "principal",
            CLIENT_ID,
            {"object_id": ROOT_OBJECT_ID, "name": "lab", "secret": CLIENT_SECRET},
        )

    def create_principal(self, name: str) -> dict[str, str]:
        """Make a service principal with no rights; return its clientId, secret and objectId."""
        client_id, object_id, secret = (
            str(uuid.uuid4()),
            str(uuid.uuid4()),
            secrets.token_urlsafe(24),
        )
        self._store.put(
            "principal", client_id, {"object_id": object_id, "name": name, "secret": secret}
        )
        return {
            "clientId": client_id,
            "clientSecret": secret,
            "objectId": object_id,
            "tenantId": TENANT_ID,
        }

    def grant(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Answer a client-credentials token request. Raises ArmError in the shape of Microsoft Entra."""
        if form.get("grant_type") != "client_credentials":
            raise _login_error(
                "unsupported_grant_type",
                f"AADSTS70003: The app requested an unsupported grant type '{form.get('grant_type', '')}'.",
            )
        client_id = form.get("client_id", "")
        principal = self._store.get("principal", client_id)
        if principal is None:
            raise _login_error(
                "unauthorized_client",
                f"AADSTS700016: Application with identifier '{client_id}' was not found in the directory "
                f"'{TENANT_ID}'.",
            )
        if not hmac.compare_digest(form.get("client_secret", ""), principal["secret"]):
            raise _login_error(
                "invalid_client",
                f"AADSTS7000215: Invalid client secret provided for app '{client_id}'.",
                status=401,
            )
        scope = form.get("scope") or form.get("resource") or ""
        token = self.issue(
            Principal(principal["object_id"], client_id, principal["name"]),
            scope.split(" ")[0].removesuffix("/.default"),
        )
        return {"token_type": "Bearer", "expires_in": _LIFETIME_SECONDS, "access_token": token}

    def issue(self, principal: Principal, audience: str) -> str:
        """Return a signed token for an audience (a resource's url)."""
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{TENANT_ID}/",
            "iat": now,
            "nbf": now - 60,
            "exp": now + _LIFETIME_SECONDS,
            "tid": TENANT_ID,
            "oid": principal.object_id,
            "sub": principal.object_id,
            "appid": principal.client_id,
            "app_displayname": principal.name,
            "idtyp": "app",
        }
        return jwt.encode(claims, self._key, algorithm="HS256")

    def authenticate(self, authorization: str, plane: str) -> Principal:
        """Return who sent an Authorization header. Raises ArmError 401 for a token that is not good for the plane."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized(
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            )
        try:
            claims = jwt.decode(
                token, self._key, algorithms=["HS256"], options={"verify_aud": False}
            )
        except jwt.ExpiredSignatureError as error:
            raise _unauthorized(
                "ExpiredAuthenticationToken", "The access token expiry UTC time is in the past."
            ) from error
        except jwt.InvalidTokenError as error:
            raise _unauthorized(
                "InvalidAuthenticationToken", "The access token is invalid."
            ) from error
        if claims.get("tid") != TENANT_ID:
            raise _unauthorized(
                "InvalidAuthenticationTokenTenant",
                f"The access token is from the wrong issuer. It must match the tenant '{TENANT_ID}' of this "
                "subscription.",
            )
        if not _is_audience_of(str(claims.get("aud", "")), plane):
            raise _unauthorized(
                "InvalidAuthenticationTokenAudience",
                f"The access token has been obtained for wrong audience or resource '{claims.get('aud')}'. "
                f"It should exactly match with one of the allowed audiences '{', '.join(AUDIENCES[plane])}'.",
            )
        return Principal(claims["oid"], claims.get("appid", ""), claims.get("app_displayname", ""))


def _is_audience_of(audience: str, plane: str) -> bool:
    audience = audience.rstrip("/")
    if audience in AUDIENCES[plane]:
        return True
    host = urlsplit(audience).hostname or ""
    # A client of the plain http endpoint asks for the endpoint's own url.
    return host in ("127.0.0.1", "localhost") or (
        plane == "storage" and host.endswith(".blob.core.windows.net")
    )


def openid_configuration(login_url: str) -> dict[str, Any]:
    """The tenant's discovery document, which MSAL reads before it asks for a token."""
    base = f"{login_url}/{TENANT_ID}"
    return {
        "issuer": f"{base}/v2.0",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


def _unauthorized(code: str, message: str) -> ArmError:
    challenge = f'Bearer authorization_uri="https://login.microsoftonline.com/{TENANT_ID}", error="invalid_token"'
    return ArmError(401, code, message, headers={"WWW-Authenticate": challenge})


class LoginError(ArmError):
    """A refusal in OAuth's shape, not Resource Manager's."""

    def body(self) -> dict[str, Any]:
        return {"error": self.code, "error_description": self.message}


def _login_error(code: str, message: str, *, status: int = 400) -> LoginError:
    return LoginError(status, code, message)
