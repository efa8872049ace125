"""What tests of several layers share: builders, doubles for the clock and the network, and the invariants."""
