# Attacked, broken and loaded: the long editions. The short ones run in `make test`.
.PHONY: bandit audit sbom licences fuzz mutants chaos load exact test-bare

bandit: .venv/dev
	@$(BIN)/bandit -q -ll -r chassis users_app analytics_app dashboard_app ops gunicorn.conf.py 2>/dev/null

audit: .venv/dev ## known vulnerabilities of what images install; says so where it can't ask
	@$(BIN)/python -m ops.audit

sbom: .venv/dev ## what each image is made of, as CycloneDX, under var/sbom/
	@$(BIN)/python -m ops.sbom

licences: .venv/dev ## the license of all that the images hold; fails for one that is not accepted
	@$(BIN)/python -m ops.licences

fuzz: .venv/dev ## Schemathesis over both documents as each role, on PostgreSQL; EXAMPLES=n, ROLES=a,b
	@$(BIN)/python -m tests.proof.fuzz $(if $(EXAMPLES),--examples $(EXAMPLES)) $(if $(ROLES),--roles $(ROLES))

mutants: .venv/dev ## which changes to the code that guards no test notices; MODULE=chassis/auth.py for one
	@$(BIN)/python -m tests.mutation $(MODULE)

chaos: .venv/dev ## every fault under load, as a table; FAULT=name for one, WRITE=file to keep it
	@$(BIN)/python -m tests.chaos $(FAULT) $(if $(WRITE),--write $(WRITE))

load: .venv/dev ## ten minutes of mixed load at 80 % of the measured maximum
	@$(BIN)/python -m tests.chaos.load $(if $(SECONDS),--seconds $(SECONDS)) $(if $(WRITE),--write $(WRITE))

test-bare: ## `make test` on a bare Debian in a folder; SUITE=bookworm, AS=--user for no root there
	@tests/bare/run.sh $(AS) $(or $(SUITE),trixie) make test

exact: .venv/dev ## random histories on both engines, every report against plain loops; SECONDS=600 for each, SEED=n again
	@EXACT_SECONDS=$(or $(SECONDS),600) $(if $(SEED),EXACT_SEED=$(SEED)) $(PYTEST) -n 0 -s tests/unit/analytics/test_property.py
