"""Send one request to each kind of faulty server, in a process of its own: gevent takes the place of blocking calls."""

import json
import sys

import locust  # noqa: F401  # first, as the command does

from specserve.loadtest.client import Client
from specserve.loadtest.distributions import Distribution
from specserve.loadtest.exchange import exchange
from specserve.loadtest.prompts import Prompts
from specserve.loadtest.sample import Sample

TIMEOUT = 0.6


def main(url, models):
    found = {}
    clients = {}
    for model in models:
        client = clients.setdefault(model, Client(url, "key-of-the-test"))
        prompts = Prompts(model, Distribution("fixed", 40), Distribution("fixed", 16), 1, "salt")
        sample = Sample(0, 0)
        exchange(client, prompts.make(0, 0), sample, TIMEOUT, "key-of-the-test")
        row = {**sample.to_wire(), "class": sample.error_class(), "figures": sample.figures(), "gaps": sample.gaps()}
        found.setdefault(model, []).append(row)
    json.dump(found, sys.stdout)


main(sys.argv[1], sys.argv[2:])
