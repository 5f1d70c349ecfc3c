"""Operations on this machine: local services, jobs in process, demo, evaluate."""
