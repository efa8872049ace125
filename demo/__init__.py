"""Shows FlowRunner at work: `make demo`."""
