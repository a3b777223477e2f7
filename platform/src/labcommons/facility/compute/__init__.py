"""Where the adapters of the Compute port will stand: the facility's own Ray. Nothing asks for it yet."""
