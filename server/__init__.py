"""specserve: a server that speaks the OpenAI API exactly, and the kit that judges any server that claims to."""

from importlib.metadata import version

__version__ = version("specserve")
