"""The settings of a watsonx model, as the operator may give them in `options`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from specserve.backends.options import Options


class WatsonxOptions(Options):
    """The options of a watsonx model. What is empty comes from the environment, see `service_access.py`."""

    region: Annotated[
        str,
        Field(
            description="Region of the service: `us-south`, `eu-gb`, `jp-tok`, `eu-de`, `au-syd`, `ca-tor`. "
            "Default: `WATSONX_REGION`."
        ),
    ] = ""
    url: Annotated[
        str,
        Field(description="Address of the service in any other region; HTTPS. Default: `WATSONX_URL`."),
    ] = ""
    project_id: Annotated[
        str, Field(description="Project that the requests are made for. Default: `WATSONX_PROJECT_ID`.")
    ] = ""
    space_id: Annotated[
        str, Field(description="Deployment space, in place of a project. Default: `WATSONX_SPACE_ID`.")
    ] = ""
    api_key_env: Annotated[
        str, Field(min_length=1, description="Environment variable that holds the IBM Cloud API key.")
    ] = "WATSONX_IAM_APIKEY"
    iam_url: Annotated[
        str,
        Field(
            description="Address that gives tokens; HTTPS. Default: `WATSONX_IAM_URL`, or `https://iam.cloud.ibm.com`."
        ),
    ] = ""
    version: Annotated[
        str,
        Field(description="Version of the API, a date. Default: `WATSONX_VERSION`, or `2025-02-06`."),
    ] = ""
    connect_timeout: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="Seconds for a connection, TLS included.")
    ] = 10
    idle_timeout: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="Longest silence in seconds, before an answer and amid it."),
    ] = 300
    total_timeout: Annotated[
        float, Field(gt=0, le=86400, allow_inf_nan=False, description="Seconds for one attempt, to its end.")
    ] = 1800
    max_retries: Annotated[
        int,
        Field(
            ge=0,
            le=10,
            description="More attempts at a request of which nothing has gone out yet.",
        ),
    ] = 2
