"""Models that IBM runs on watsonx.ai: chat, completions and embeddings over its HTTP API, with IAM tokens.

What crosses the line to IBM is in the API reference, https://cloud.ibm.com/apidocs/watsonx-ai, and for tokens in
https://cloud.ibm.com/docs/iam?topic=iam-iamtoken_from_apikey. This file imports nothing at its top, so that the options
can be documented without the library that the backend needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specserve.backends.base import Backend, ModelSettings


def open_model(settings: ModelSettings) -> Backend:
    """Make the backend of one model; its source is IBM's id of it, such as ``ibm/granite-3-3-8b-instruct``.

    Raises:
        BackendLoadError: An option is wrong, or a setting that it needs is nowhere.
    """
    from specserve.backends.watsonx.backend import Watsonx

    return Watsonx(settings)
