"""Settings: where they come from, what they may be, and the tables of models."""
