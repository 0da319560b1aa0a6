"""What handlers share: finding the model, and sending its answer whole or as a stream."""
