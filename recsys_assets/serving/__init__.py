"""Everything that runs online: stages, Triton, promotion, stores, events, gateway."""
