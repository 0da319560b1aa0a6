"""Read an answer long after it came, in a process of its own: gevent takes the place of blocking calls."""

import json
import sys

import locust  # noqa: F401  # first, as the command does
from gevent.monkey import get_original

from specserve.loadtest.client import Client, clock
from specserve.loadtest.distributions import Distribution
from specserve.loadtest.prompts import Prompts

prompts = Prompts("pause", Distribution("fixed", 40), Distribution("fixed", 16), 1, "salt")
pieces = Client(sys.argv[1]).post(prompts.make(0, 0).body).pieces()
sent = clock()
next(pieces)
get_original("time", "sleep")(1)  # longer than the server's pause; nothing else runs in this process either
woken = clock()
json.dump({"sent": sent, "moments": [moment for moment, _ in pieces], "woken": woken}, sys.stdout)
