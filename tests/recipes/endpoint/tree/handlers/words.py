"""Words."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from specserve.generated.models import DeletedWord, Letters, Word
from specserve.handlers._delivery.log_fields import note
from specserve.handlers._delivery.plain import json_response


async def retrieve_word(request: Request, word: str) -> Response:
    """Say how long a word is."""
    note(request, word=word)
    return json_response(Word(object="word", id=word, length=len(word)))


async def delete_word(request: Request, word: str) -> Response:
    """Forget a word."""
    note(request, word=word)
    return json_response(DeletedWord(id=word, deleted=True))


async def list_letters(request: Request, word: str) -> Response:
    """List the letters of a word."""
    note(request, word=word)
    return json_response(Letters(object="list", data=list(word)))
