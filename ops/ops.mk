# Operations: what runs Footfall elsewhere than here. Included by the Makefile.
.PHONY: release pin-images backup containers drill restores proxy-test capacity operations-tools dashboards

backup: .venv/run ## back up the embedded default under var/ while it runs
	@$(BIN)/python ops/backup/sqlite.py

release: .venv/dev ## VERSION=1.2.3: write it wherever it stands and date the changelog; without, check that all agree
	@$(BIN)/python -m ops.release $(VERSION)

pin-images: .venv/dev ## pin foreign images to their digests, by crane, skopeo or docker; PIN=--unpin: tags alone again
	@$(BIN)/python -m ops.images $(PIN)

operations-tools: .venv/dev
	@$(BIN)/python -m ops.tools

containers: .venv/dev ## compose.yaml run for real on stand-in images, partitioned and killed; SMALL=--small without replica and backups
	@$(BIN)/python -m tests.containers $(SMALL)

drill: .venv/dev operations-tools ## lose a PostgreSQL server, restore it to a moment, follow it with a replica
	@$(PYTEST) tests/operations/test_recovery.py tests/operations/test_restore.py tests/operations/test_replica.py tests/operations/test_sqlite_backup.py

restores: .venv/dev ## a hundred restores to moments between known commits, each held against its rows; COUNT=n, SEED=n again
	@$(BIN)/python -m tests.operations.restores $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))

proxy-test: .venv/dev operations-tools ## nginx under slow and half-sent requests for 30 s; SECONDS=n for another while
	@$(BIN)/python -m tests.operations.slow_clients $(if $(SECONDS),--seconds $(SECONDS))

capacity: .venv/dev ## measure what the capacity model in docs/operations.md plans with
	@$(BIN)/python -m tests.operations.capacity

dashboards: .venv/dev ## write Grafana's dashboards anew from ops/grafana/build.py
	@$(BIN)/python ops/grafana/build.py
