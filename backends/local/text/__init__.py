"""From a request to the text of its answer: sampling, stop strings, log-probabilities, usage."""
