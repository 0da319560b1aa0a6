"""What the backends that ask another server share.

`connections.py` is the only file that knows the HTTP library; `bounded.py` holds what it needs of the library's
inside. What comes in is hostile by assumption: heads, bodies, compressed bodies and events are bounded in bytes and in
time, and reading never keeps the event loop from others for long.
"""
