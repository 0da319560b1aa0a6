"""The command `specserve`; its subcommands are imported when they are used."""
