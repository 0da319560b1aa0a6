"""What choices gained, as the contract has it: chunks, and the events of a stream."""
