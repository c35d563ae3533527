"""The numbers of the core, sooner or in less memory: devices, Gram matrices, convolutions, memory, tiles."""
