# The suites of the extension itself on the server that start_cluster started.
# Sourced by bash scripts after lib.sh.
. "$top/test/results.sh"
server_settings >"$work/temp.conf"
export TEMP_CONFIG=$work/temp.conf SIDECAR_DEST=$work/dest

# suite VARIABLE=VALUE...: make installcheck with them; every test that it runs
# is one of the results
suite() {
	local rc=0 diff log=$work/suite.log good bad
	rm -f "$top"/regression.diffs "$top"/output_iso/regression.diffs
	make -C "$top" --no-print-directory PG_CONFIG="$pg_config" PROVE_FLAGS=--verbose "$@" installcheck 2>&1 | tee "$log" || rc=$?
	for diff in "$top"/regression.diffs "$top"/output_iso/regression.diffs; do
		[ ! -s "$diff" ] || cat "$diff"
	done
	# one line per test from the three runners, in each form that they have had
	good=$(grep -cE '^ok [0-9]+|^(test| ) .*\.\.\. ok ' "$log" || true)
	bad=$(grep -cE '^not ok [0-9]+|^(test| ) .*\.\.\. FAILED' "$log" || true)
	[ "$rc" = 0 ] && [ "$good" -gt 0 ] || [ "$bad" -gt 0 ] || bad=1
	tests=$((tests + good + bad)) failed=$((failed + bad))
}

# suites: pg_regress, pg_isolation_regress and TAP
suites() {
	suite ISOLATION= TAP_TESTS=
	suite REGRESS= TAP_TESTS=
	suite REGRESS= ISOLATION=
}
