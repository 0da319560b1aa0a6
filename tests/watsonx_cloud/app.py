"""The stand-in's HTTP: who may ask, what they may ask, and what goes wrong on demand."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import date
from urllib.parse import parse_qs, parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from watsonx_cloud import bodies
from watsonx_cloud.answers import ANSWERS
from watsonx_cloud.models import SPECS

GRANT = "urn:ibm:params:oauth:grant-type:apikey"
PROJECT = "8f7c1f0e-5b8e-4f0a-9c1d-2a6f3b7c4d5e"
_PAGE = 4
_FUNCTIONS = {
    "chat": "text_chat",
    "chat_stream": "text_chat",
    "generation": "text_generation",
    "generation_stream": "text_generation",
    "embeddings": "embedding",
}
_SCHEMAS = {
    "chat": bodies.chat_problem,
    "generation": lambda body: bodies.problem(bodies.GENERATION, body),
    "embeddings": lambda body: bodies.problem(bodies.EMBEDDINGS, body),
}


@dataclass
class Fault:
    """What happens to one request in place of its answer, or in the midst of it.

    Attributes:
        status: Answer with this status, `code`, `message` and `headers`.
        after: In a stream, what goes wrong comes after so many events; with a status it is an event `error`, with
            none the connection breaks.
        hang: Say nothing for so many seconds first.
        events: Send these payloads in place of the answer's.
        body: Send this in place of an answer, with status 200.
    """

    status: int = 0
    code: str = "error"
    message: str = "It went wrong."
    headers: dict = field(default_factory=dict)
    after: int | None = None
    hang: float = 0
    events: list | None = None
    body: bytes | None = None


class Refused(Exception):
    def __init__(self, status, code, message):
        self.status, self.code, self.message = status, code, message


class Unauthorized(Exception):
    pass


class Cloud:
    """IAM and watsonx.ai as one ASGI application.

    Args:
        token_lifetime: Seconds that a token is good for.
        says_lifetime: What IAM says of it, if that is something else.
        iam_delay: Seconds that IAM takes.
        event_delay: Seconds between the events of a stream.
        answer_delay: Seconds before an answer begins.
    """

    def __init__(self, *, token_lifetime=3600, says_lifetime=None, iam_delay=0, event_delay=0, answer_delay=0):
        self.url = ""
        self.api_key = self.first_key = f"key-{secrets.token_urlsafe(24)}"
        self.project_id = PROJECT
        self.token_lifetime = token_lifetime
        self.says_lifetime = token_lifetime if says_lifetime is None else says_lifetime
        self.iam_delay = iam_delay
        self.event_delay = event_delay
        self.answer_delay = answer_delay
        self.tokens = {}  # token -> when it expires
        self.renewals = []  # when each was asked for
        self.issued = []  # when each token was
        self.renewing = self.most_renewing = 0
        self.unauthorized = 0  # requests with no good token
        self.refused = []  # what was wrong with requests that were
        self.asked = []  # (path, body) of every request that was good
        self.working = self.left = 0  # answers under way; clients that left before the end
        self.specs = list(SPECS)  # what it offers
        self.listings = []  # when somebody began to read that
        self.faults = deque()
        self.iam_faults = deque()

    def environ(self):
        """What a server needs to find this cloud."""
        return {
            "WATSONX_IAM_APIKEY": self.api_key,
            "WATSONX_PROJECT_ID": self.project_id,
            "WATSONX_URL": self.url,
            "WATSONX_IAM_URL": self.url,
        }

    def revoke(self):
        """All tokens are good no more."""
        self.tokens.clear()

    async def __call__(self, scope, receive, send):
        request = Request(scope, receive)
        try:
            response = await self._route(request)
        except Refused as refusal:
            self.refused.append(f"{scope['path']}: {refusal.status} {refusal.message}")
            response = failure(refusal.status, refusal.code, refusal.message)
        except Unauthorized:
            response = failure(401, "authentication_token_expired", "Failed to authenticate the request.")
        except ClientDisconnect:
            return
        if isinstance(response, Response):
            await response(scope, receive, send)
        else:
            await self._send_events(response, receive, send)

    async def _route(self, request):
        path = request.url.path
        if path == "/identity/token":
            return await self._give_token(request)
        if path == "/ml/v1/foundation_model_specs":
            return self._list_models(request)
        name = path.removeprefix("/ml/v1/text/")
        if name not in _FUNCTIONS:
            raise Refused(404, "not_found", "no such path")
        if request.method != "POST":
            raise Refused(405, "method_not_allowed", "no such method")
        body = await self._read(request, name)
        self.asked.append((name, body))
        fault = self.faults.popleft() if self.faults else Fault()
        self.working += 1
        try:
            await asyncio.sleep(fault.hang + self.answer_delay)
            if fault.status and fault.after is None:
                return failure(fault.status, fault.code, fault.message, fault.headers)
            if fault.body is not None:
                return Response(fault.body, media_type="application/json")
            answer = ANSWERS[name](body) if fault.events is None else fault.events
            if not name.endswith("_stream"):
                if fault.after is not None:
                    return Response(json.dumps(answer)[:-9], headers={"content-length": "100000"})
                return JSONResponse(answer)
            return answer, fault
        finally:
            self.working -= 1

    async def _read(self, request, name):
        self._check_version(parse_qs(request.url.query), {"version"})
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or self.tokens.get(token, 0) <= time.monotonic():
            self.unauthorized += 1
            raise Unauthorized
        accept = "text/event-stream" if name.endswith("_stream") else "application/json"
        if request.headers.get("content-type") != "application/json" or accept not in request.headers.get("accept", ""):
            raise Refused(415, "unsupported_media_type", "wrong content types")
        try:
            body = json.loads(await request.body())
        except ValueError:
            raise Refused(400, "invalid_request_entity", "not JSON") from None
        found = _SCHEMAS[name.removesuffix("_stream")](body)
        if found:
            code = "invalid_request_entity" if found.startswith("Missing") else "json_validation_error"
            raise Refused(400, code, found)
        if body.get("project_id", body.get("space_id")) != self.project_id or {"project_id", "space_id"} <= set(body):
            raise Refused(403, "user_authorization_failed", f"project {body.get('project_id')} is not yours")
        self._check_model(name, body)
        return body

    def _check_model(self, name, body):
        entry = next((spec for spec in self.specs if spec["model_id"] == body["model_id"]), None)
        if entry is None:
            raise Refused(404, "model_not_supported", f"Model '{body['model_id']}' is not supported")
        if _FUNCTIONS[name] not in [function["id"] for function in entry["functions"]]:
            raise Refused(400, "model_no_support_for_function", "the model cannot do this")
        limit = entry["model_limits"]["max_sequence_length"]
        texts = [json.dumps(body.get("messages", "")), body.get("input", ""), *body.get("inputs", ())]
        longest = max(len(text.split()) for text in texts)
        if longest > limit:
            text = "Token sequence length is longer than the specified maximum sequence length for this model"
            raise Refused(
                400,
                "invalid_input_argument",
                f"Invalid input argument for Model '{entry['model_id']}': {text} ({longest} > {limit}).",
            )

    def _check_version(self, query, allowed):
        version = query.get("version", [""])
        if len(version) != 1 or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", version[0]):
            raise Refused(400, "invalid_query_parameter", "version is no date")
        date.fromisoformat(version[0])
        if set(query) - allowed:
            raise Refused(400, "invalid_query_parameter", f"unknown query parameters {set(query) - allowed}")

    def _list_models(self, request):
        query = parse_qs(request.url.query)
        self._check_version(query, {"version", "limit", "start", "filters", "tech_preview"})
        if request.method != "GET" or not 1 <= int(query.get("limit", ["100"])[0]) <= 200:
            raise Refused(400, "invalid_query_parameter", "limit is out of its bounds")
        start = int(query.get("start", ["0"])[0])
        if start == 0:
            self.listings.append(time.monotonic())
        page = {"limit": _PAGE, "total_count": len(self.specs), "resources": self.specs[start : start + _PAGE]}
        if start + _PAGE < len(self.specs):
            page["next"] = {"href": f"{self.url}{request.url.path}?version=2025-02-06&start={start + _PAGE}"}
        return JSONResponse(page)

    async def _give_token(self, request):
        if request.method != "POST" or request.headers.get("content-type") != "application/x-www-form-urlencoded":
            raise Refused(415, "unsupported_media_type", "IAM takes forms")
        form = dict(parse_qsl((await request.body()).decode()))
        if set(form) != {"grant_type", "apikey"} or form["grant_type"] != GRANT:
            raise Refused(400, "BXNIM0109E", "Property missing or empty")
        self.renewals.append(time.monotonic())
        self.renewing += 1
        self.most_renewing = max(self.most_renewing, self.renewing)
        try:
            await asyncio.sleep(self.iam_delay)
        finally:
            self.renewing -= 1
        if self.iam_faults:
            fault = self.iam_faults.popleft()
            return Response(fault.body or b"{}", fault.status or 200, fault.headers)
        if form["apikey"] != self.api_key:
            said = {"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."}
            return JSONResponse(said, 400)
        token = f"eyJ{secrets.token_urlsafe(64)}"
        self.issued.append(time.monotonic())
        self.tokens[token] = self.issued[-1] + self.token_lifetime
        return JSONResponse(
            {
                "access_token": token,
                "refresh_token": "not_supported",
                "token_type": "Bearer",
                "expires_in": self.says_lifetime,
                "expiration": int(time.time() + self.says_lifetime),
                "scope": "ibm openid",
            }
        )

    async def _send_events(self, answer, receive, send):
        payloads, fault = answer
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        gone = asyncio.create_task(_gone(receive))
        self.working += 1
        try:
            for number, payload in enumerate(payloads):
                if fault.after == number:
                    if not fault.status:
                        raise ConnectionAbortedError("as planned")  # the server closes the connection
                    said = failure(fault.status, fault.code, fault.message).body.decode()
                    await _send(send, f"event: error\ndata: {said}\n\n")
                    break
                await _send(send, f"id: {number + 1}\nevent: message\ndata: {json.dumps(payload)}\n\n")
                await asyncio.wait([gone], timeout=self.event_delay)
                if gone.done():
                    self.left += 1
                    return
            else:
                await _send(send, "event: close\ndata: {}\n\n")
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.working -= 1
            gone.cancel()


def failure(status, code, message, headers=None):
    said = {
        "errors": [{"code": code, "message": message, "more_info": "https://cloud.ibm.com/apidocs/watsonx-ai"}],
        "trace": secrets.token_hex(16),
        "status_code": status,
    }
    return JSONResponse(said, status, headers)


async def _send(send, text):
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _gone(receive):
    while (await receive())["type"] != "http.disconnect":
        pass
