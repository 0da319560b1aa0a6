"""What each `format` of a string is made of: strings that surely have it, not all that have it."""

from __future__ import annotations

_DATE = (
    r"[12]\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    r"|02-(?:0[1-9]|1\d|2[0-8]))"
)
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)"
_LABEL = r"[a-z](?:-?[a-z0-9]){0,20}"
_HOST = rf"{_LABEL}(?:\.{_LABEL}){{0,3}}"
_EMAIL = rf"[A-Za-z0-9_+-]{{1,20}}(?:\.[A-Za-z0-9_+-]{{1,20}}){{0,2}}@{_LABEL}(?:\.{_LABEL}){{1,3}}"
_IPV4 = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": r"P(?:[1-9]\d{0,2}(?:D(?:T[1-9]\d{0,2}[HMS])?|[WMY])|T[1-9]\d{0,2}(?:H(?:[1-9]\d?M)?|M|S))",
    "email": _EMAIL,
    "hostname": _HOST,
    "ipv4": _IPV4,
    "ipv6": r"[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}",
    "cidrv4": rf"{_IPV4}/(?:[12]?\d|3[0-2])",
    "cidrv6": r"[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}/(?:1[01]\d|12[0-8]|[1-9]?\d)",
    "idn-email": _EMAIL,
    "idn-hostname": _HOST,
    "mac": r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "guid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "emoji": r"\p{Extended_Pictographic}",
    "e164": r"\+[1-9]\d{6,14}",
    "nanoid": r"[A-Za-z0-9_-]{21}",
    "cuid": r"c[0-9a-z]{24}",
    "cuid2": r"[a-z][0-9a-z]{23}",
    "ulid": r"[0-7][0-9A-HJKMNP-TV-Z]{25}",
    "xid": r"[0-9a-v]{20}",
    "ksuid": r"[A-Za-z0-9]{27}",
    "base64": r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
    "byte": r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
    "base64url": r"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?",
    "jwt": r"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\.[A-Za-z0-9_-]{4,400}\.[A-Za-z0-9_-]{43}",
    "json-pointer": r"(?:/[A-Za-z0-9_-]+)*",
    "uri": rf"https?://{_HOST}(?:/[A-Za-z0-9._~-]*){{0,8}}(?:\?[A-Za-z0-9=&_-]*)?",
}
