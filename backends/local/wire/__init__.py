"""An answer as bytes: chunks, events, whole answers."""
